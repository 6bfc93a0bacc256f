"""An embedded broker in the process: to develop a service with, and to test it in virtual time."""

from rpcb_trio._transports._memory._transport import MemoryBroker

__all__ = ["MemoryBroker"]
