"""Other projects' suites, run unmodified against DoSQL; see README.md beside this file."""
