"""The command load."""
