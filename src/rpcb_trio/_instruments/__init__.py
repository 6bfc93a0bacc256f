"""Hooks on the pipeline's events: what they are, the log, and the audit."""

from rpcb_trio._instruments._instrument import Instrument, Instruments, Setup
from rpcb_trio._instruments._log import LogInstrument

__all__ = ["Instrument", "Instruments", "LogInstrument", "Setup"]
