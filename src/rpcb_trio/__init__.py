"""Dynamic-batching RPC worker for RabbitMQ, on trio."""

from rpcb_trio._batching import AutoPolicy, FixedPolicy
from rpcb_trio._client import BlockingRpcClient, RpcClient, open_client
from rpcb_trio._errors import (
    CallError,
    RemoteError,
    ReplyTimeout,
    RequestError,
    RpcbError,
    ServiceError,
    SettingError,
)
from rpcb_trio._executors import ProcessExecutor, ThreadExecutor
from rpcb_trio._instruments import HealthInstrument, Instrument, LogInstrument
from rpcb_trio._messages import Failure, Outcome, Reply, Request, Success
from rpcb_trio._pipeline import Worker, open_worker, serve
from rpcb_trio._service import PlainFunction, Service
from rpcb_trio._transports import MemoryBroker, Topology

open_blocking_client = BlockingRpcClient

__all__ = [
    "AutoPolicy",
    "BlockingRpcClient",
    "CallError",
    "Failure",
    "FixedPolicy",
    "HealthInstrument",
    "Instrument",
    "LogInstrument",
    "MemoryBroker",
    "Outcome",
    "PlainFunction",
    "ProcessExecutor",
    "RemoteError",
    "Reply",
    "ReplyTimeout",
    "Request",
    "RequestError",
    "RpcClient",
    "RpcbError",
    "Service",
    "ServiceError",
    "SettingError",
    "Success",
    "ThreadExecutor",
    "Topology",
    "Worker",
    "open_blocking_client",
    "open_client",
    "open_worker",
    "serve",
]
