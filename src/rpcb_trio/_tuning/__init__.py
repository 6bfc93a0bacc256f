"""Choosing settings by numbers: what a service's batches take, and what a policy would make of it."""

from rpcb_trio._tuning._advice import Advice, Curve, advise, latency_over_load
from rpcb_trio._tuning._demand import Demand, Objective
from rpcb_trio._tuning._law import Observation, ServiceLaw, fit_law, law_by_hand
from rpcb_trio._tuning._measurement import Measured, Sample, Survey, measure, sizes_up_to, survey
from rpcb_trio._tuning._prospect import Predicted, Prospect, Setting
from rpcb_trio._tuning._replay import Figures, Recording, recorded, replay

__all__ = [
    "Advice",
    "Curve",
    "Demand",
    "Figures",
    "Measured",
    "Objective",
    "Observation",
    "Predicted",
    "Prospect",
    "Recording",
    "Sample",
    "ServiceLaw",
    "Setting",
    "Survey",
    "advise",
    "fit_law",
    "latency_over_load",
    "law_by_hand",
    "measure",
    "recorded",
    "replay",
    "sizes_up_to",
    "survey",
]
