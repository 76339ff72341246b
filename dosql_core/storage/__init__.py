"""Bytes and pages on disk: checked documents, segments of page versions, and the past they hold.

Nothing here knows SQL or SQLite's library; the kernel builds on it.
"""
