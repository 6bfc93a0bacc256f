"""`python -m rpcb_trio demo`: real speech through an embedded broker, one by one and in batches."""

from rpcb_models.demo._main import main

__all__ = ["main"]
