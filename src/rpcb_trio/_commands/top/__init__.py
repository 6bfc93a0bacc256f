"""The command top."""
