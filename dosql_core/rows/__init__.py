"""Rows read straight from the pages of a moment, and what differs between two moments."""
