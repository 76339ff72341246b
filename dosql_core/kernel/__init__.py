"""SQLite as we use it: heads, capture, checkpoints and the VFSes. Only this package imports apsw."""
