"""DoSQL's engine: an ordinary SQLite file that keeps every commit."""
