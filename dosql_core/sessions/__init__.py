"""Sessions: one connection of a user to a branch and, perhaps, a moment, and what it may say."""
