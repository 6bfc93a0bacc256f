"""What workers tell of themselves, and who watches it."""
