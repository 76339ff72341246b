"""The subcommands of `dosql`: what one does to a database from outside."""
