"""Speech enhancement."""
