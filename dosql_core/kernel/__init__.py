"""SQLite as we use it: heads, capture, checkpoints, VFSes. Only this package imports apsw."""
