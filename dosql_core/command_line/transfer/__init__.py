"""Data in and out: files of rows, SQL dumps, SQLite files."""
