"""Tables are kept tidy: compaction, manifest rewriting, snapshot expiry, orphaned files."""
