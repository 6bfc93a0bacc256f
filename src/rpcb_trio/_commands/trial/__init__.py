"""The command try."""
