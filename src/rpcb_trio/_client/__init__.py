"""The calling side: a client for async programs, and one for ordinary threads."""

from rpcb_trio._client._blocking import BlockingRpcClient
from rpcb_trio._client._client import RpcClient
from rpcb_trio._client._inbox import deposit, give_up, keep_inbox
from rpcb_trio._client._jobs import JobStatus
from rpcb_trio._client._opening import open_client
from rpcb_trio._client._reply_stream import ReplyStream

__all__ = [
    "BlockingRpcClient",
    "JobStatus",
    "ReplyStream",
    "RpcClient",
    "deposit",
    "give_up",
    "keep_inbox",
    "open_client",
]
