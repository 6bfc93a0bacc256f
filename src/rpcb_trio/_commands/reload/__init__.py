"""The command reload."""
