"""The command gateway."""
