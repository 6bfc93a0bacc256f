"""Which requests go into the next batch and when it closes: the policies, and what one of yours is given."""

from rpcb_trio._batching import AutoPolicy, Decision, FixedPolicy, Policy
from rpcb_trio._messages import Batch, Ending, Pending, Run, Trigger, Work
from rpcb_trio._public import publish
from rpcb_trio._shares import Shares

__all__ = [
    "AutoPolicy",
    "Batch",
    "Decision",
    "Ending",
    "FixedPolicy",
    "Pending",
    "Policy",
    "Run",
    "Shares",
    "Trigger",
    "Work",
]

publish(__name__)
