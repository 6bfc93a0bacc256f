"""Which requests go into the next batch, and when it closes."""

from rpcb_trio._batching._batcher import run_batcher
from rpcb_trio._batching._policy import Decision, FixedPolicy, Policy

__all__ = ["Decision", "FixedPolicy", "Policy", "run_batcher"]
