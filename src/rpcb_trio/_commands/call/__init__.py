"""The command call."""
