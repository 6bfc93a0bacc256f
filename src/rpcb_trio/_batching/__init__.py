"""Which requests go into the next batch, and when it closes."""

from rpcb_trio._batching._auto import AutoPolicy
from rpcb_trio._batching._batcher import Batcher
from rpcb_trio._batching._fixed import FixedPolicy
from rpcb_trio._batching._policy import Decision, Policy

__all__ = ["AutoPolicy", "Batcher", "Decision", "FixedPolicy", "Policy"]
