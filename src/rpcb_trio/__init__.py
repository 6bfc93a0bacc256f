"""Dynamic-batching RPC worker for RabbitMQ, on trio.

What is used daily is here; the rest is in modules named for it: `rpcb_trio.errors`, `batching`, `executors`,
`instruments`, `events`, `metrics`, `transports`, `amqp`, `gateway`, `health`, `simulation`, `testing`.
"""

from typing import TYPE_CHECKING

from rpcb_trio._cache import Cache
from rpcb_trio._client import BlockingRpcClient, JobStatus, RpcClient, open_client
from rpcb_trio._messages import Failure, Outcome, Pieces, RemoteError, Reply, Request, Success
from rpcb_trio._pipeline import LiveSettings, Worker, open_worker, serve
from rpcb_trio._public import publish
from rpcb_trio._service import PlainFunction, Service
from rpcb_trio._typed import RequestInfo
from rpcb_trio.batching import AutoPolicy, FixedPolicy
from rpcb_trio.errors import (
    CallError,
    ReplyTimeout,
    RequestError,
    RpcbError,
    ServiceError,
    SettingError,
)
from rpcb_trio.executors import ProcessExecutor, ThreadExecutor
from rpcb_trio.instruments import HealthInstrument, Instrument, LogInstrument
from rpcb_trio.transports import MemoryBroker, Topology

__all__ = [
    "AutoPolicy",
    "BlockingRpcClient",
    "Cache",
    "CallError",
    "Failure",
    "FixedPolicy",
    "HealthInstrument",
    "Instrument",
    "JobStatus",
    "LiveSettings",
    "LogInstrument",
    "MemoryBroker",
    "Outcome",
    "Pieces",
    "PlainFunction",
    "ProcessExecutor",
    "RemoteError",
    "Reply",
    "ReplyTimeout",
    "Request",
    "RequestError",
    "RequestInfo",
    "RpcClient",
    "RpcbError",
    "Service",
    "ServiceError",
    "SettingError",
    "Success",
    "ThreadExecutor",
    "Topology",
    "Worker",
    "open_client",
    "open_worker",
    "serve",
]

publish(__name__)

__version__: str
if not TYPE_CHECKING:  # else every name would pass for one of the package's

    def __getattr__(name: str) -> str:
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version  # noqa: PLC0415 - it takes as long as a third of this package

        return version("rpcb-trio")
