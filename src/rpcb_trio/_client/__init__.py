"""The calling side: a client for async programs, and one for ordinary threads."""

from rpcb_trio._client._blocking import BlockingRpcClient
from rpcb_trio._client._client import RpcClient, open_client
from rpcb_trio._client._inbox import deposit, keep_inbox
from rpcb_trio._client._jobs import JobStatus

__all__ = ["BlockingRpcClient", "JobStatus", "RpcClient", "deposit", "keep_inbox", "open_client"]
