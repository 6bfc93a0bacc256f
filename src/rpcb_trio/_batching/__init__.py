"""Which requests go into the next batch, and when it closes."""

from rpcb_trio._batching._auto import AutoPolicy
from rpcb_trio._batching._batcher import Batcher
from rpcb_trio._batching._fixed import FixedPolicy
from rpcb_trio._batching._policy import Decision, Demand, Policy
from rpcb_trio._batching._prefetch import Consume, Found, Intake, Learned, Look, Prefetching, Steps
from rpcb_trio._batching._waiting import Waiting

__all__ = [
    "AutoPolicy",
    "Batcher",
    "Consume",
    "Decision",
    "Demand",
    "FixedPolicy",
    "Found",
    "Intake",
    "Learned",
    "Look",
    "Policy",
    "Prefetching",
    "Steps",
    "Waiting",
]
