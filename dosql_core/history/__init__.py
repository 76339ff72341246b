"""The past of a database and its forks: refs, moments, branches, snapshots, retention, restore."""
