"""Measurements of the worker, next to what one would write without it."""
