"""The command health."""
