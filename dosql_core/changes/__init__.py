"""Row changes in commit order: a feed of them, and slots that remember how far it was read."""
