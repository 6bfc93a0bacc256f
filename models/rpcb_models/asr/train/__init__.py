"""Trains a small QuartzNet on Debian's prompts: `python -m rpcb_models.asr.train --help`."""
