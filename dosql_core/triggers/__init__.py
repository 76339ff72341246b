"""Triggers: what SQL's do to a schema, and triggers whose bodies are Python."""
