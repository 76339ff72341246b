"""Tables are kept tidy: compaction, manifest rewriting, snapshot expiry, orphaned files.

Everything here is planned on a snapshot and committed on condition, so it may run beside writers,
beside itself, and be killed: a table is always as it was before or as it is after.
"""
