"""The command `recipes`, one file a subcommand."""
