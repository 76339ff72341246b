"""SQL over the lake's tables, run by DuckDB: committed snapshots and what is not committed yet."""
