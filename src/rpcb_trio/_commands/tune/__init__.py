"""The command tune."""
