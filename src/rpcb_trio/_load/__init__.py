"""Sending a load on purpose, and what became of it."""

from rpcb_trio._load._latencies import Latencies
from rpcb_trio._load._loops import Extent, closed_loop, open_loop
from rpcb_trio._load._ramp import PRECISION, find_highest
from rpcb_trio._load._tally import Call, Figures, Tally

__all__ = [
    "PRECISION",
    "Call",
    "Extent",
    "Figures",
    "Latencies",
    "Tally",
    "closed_loop",
    "find_highest",
    "open_loop",
]
