"""Trains a small QuartzNet on Debian's prompts: `python -m models.asr.train --help`."""
