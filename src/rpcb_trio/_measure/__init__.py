"""Measuring: a load on a worker, what a service's batches take, and what settings would make of a load."""

from rpcb_trio._measure._advice import Advice, LatencyCurve, advise, latency_over_load
from rpcb_trio._measure._demand import Demand, Objective
from rpcb_trio._measure._latencies import Latencies
from rpcb_trio._measure._law import Observation, ServiceLaw, fit_law, law_by_hand
from rpcb_trio._measure._load import (
    PRECISION,
    Call,
    Extent,
    Figures,
    Tally,
    find_highest,
    send_closed,
    send_open,
)
from rpcb_trio._measure._measurement import Measured, Survey, sizes_up_to, survey
from rpcb_trio._measure._prospect import Predicted, Prospect, Setting
from rpcb_trio._measure._replay import Recording, recorded, replay
from rpcb_trio._measure._scaling import Scaling, check_scaling, scale

__all__ = [
    "PRECISION",
    "Advice",
    "Call",
    "Demand",
    "Extent",
    "Figures",
    "Latencies",
    "LatencyCurve",
    "Measured",
    "Objective",
    "Observation",
    "Predicted",
    "Prospect",
    "Recording",
    "Scaling",
    "ServiceLaw",
    "Setting",
    "Survey",
    "Tally",
    "advise",
    "check_scaling",
    "find_highest",
    "fit_law",
    "latency_over_load",
    "law_by_hand",
    "recorded",
    "replay",
    "scale",
    "send_closed",
    "send_open",
    "sizes_up_to",
    "survey",
]
