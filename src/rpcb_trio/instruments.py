"""Hooks on a worker's events: the log, the audit, the health, and what one of yours is given."""

from rpcb_trio._instruments import (
    Audit,
    AuditBatch,
    AuditInstrument,
    AuditRefused,
    AuditRequest,
    AuditStart,
    Condition,
    Health,
    HealthInstrument,
    Instrument,
    LogInstrument,
    Setup,
    TracingInstrument,
    read_audit,
)
from rpcb_trio._messages import Answer, Settled
from rpcb_trio._public import publish

__all__ = [
    "Answer",
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
    "LogInstrument",
    "Settled",
    "Setup",
    "TracingInstrument",
    "read_audit",
]

publish(__name__)
