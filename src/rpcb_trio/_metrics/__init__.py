"""What Prometheus scrapes; needs prometheus_client."""

from prometheus_client import REGISTRY

from rpcb_trio._metrics._gateway import GatewayCounts, JobCounts
from rpcb_trio._metrics._instrument import MetricsInstrument
from rpcb_trio._metrics._processes import registry_of_processes

__all__ = ["REGISTRY", "GatewayCounts", "JobCounts", "MetricsInstrument", "registry_of_processes"]
