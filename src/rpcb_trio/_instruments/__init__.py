"""Hooks on the pipeline's events: what they are, the log, and the audit."""

from rpcb_trio._instruments._audit import AuditInstrument, new_start
from rpcb_trio._instruments._health import Condition, Health, HealthInstrument
from rpcb_trio._instruments._instrument import Instrument, Instruments, Setup
from rpcb_trio._instruments._log import LogInstrument
from rpcb_trio._instruments._records import (
    Audit,
    AuditBatch,
    AuditRefused,
    AuditRequest,
    AuditStart,
    read_audit,
)
from rpcb_trio._instruments._tracing import TracingInstrument, tracing_if_on

__all__ = [
    "Audit",
    "AuditBatch",
    "AuditInstrument",
    "AuditRefused",
    "AuditRequest",
    "AuditStart",
    "Condition",
    "Health",
    "HealthInstrument",
    "Instrument",
    "Instruments",
    "LogInstrument",
    "Setup",
    "TracingInstrument",
    "new_start",
    "read_audit",
    "tracing_if_on",
]
