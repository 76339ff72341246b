"""Row changes become Iceberg snapshots: mirrors of tables, and logs of their changes."""
