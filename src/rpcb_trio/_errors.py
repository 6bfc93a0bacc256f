"""Errors, divided by whose fault they are, so that no boundary has to guess what to do.

- `RequestError`: the request's. Its producer gets an error reply; its batch mates notice nothing.
- `ServiceError`: the service's. The producer gets an error reply; the operator should look.
- `ExecutorHung`: the service's too, but nobody can be answered any more. What was held is redelivered.
- `BrokerError`: the broker's or the network's. What was held is redelivered.
- `SettingError`: the operator's. Nothing was started.
- `CallError`: what an `RpcClient.call` can end with instead of a reply.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

ErrorT = TypeVar("ErrorT", bound="RpcbError")


class RpcbError(Exception):
    """Every error this package raises on purpose."""


class SettingError(RpcbError):
    """A setting is wrong; the message names it and the remedy."""


class OutcomeError(RpcbError):
    """A request ends in an error reply instead of a result."""

    code: ClassVar[str] = "error"
    """One word for the error, sent in the reply's `rpcb-error` header and used as a metrics label."""


class RequestError(OutcomeError):
    """The request itself is at fault; raise it (or a subclass) from a service's hooks.

    A subclass may carry what the service's own error reply needs (a status, say).
    """

    code = "request"


class DecodeError(RequestError):
    """The body could not be decoded; `__cause__` is what `decode` raised."""

    code = "decode"


class BodyTooBig(RequestError):
    """The body is larger than `max_body_size`; it was not decoded."""

    code = "too-big"


class NoReplyTo(RequestError):
    """The request names nobody to answer, and is not computed, as set; it goes to the dead letters."""

    code = "no-reply-to"


class RequesterGone(RequestError):
    """The requester's direct reply-to address leads nowhere any more; the request was not computed."""

    code = "requester-gone"


class Expired(RequestError):
    """The request's time to live ran out before a batch had room for it; it was not computed."""

    code = "expired"


class TooLate(Expired):
    """It has not expired yet, but would have before its batch was done; it was not computed."""

    code = "too-late"


class Overloaded(RequestError):
    """More requests are pending than `max_pending` allows; it was refused at once, and not computed."""

    code = "overloaded"


class ServiceError(OutcomeError):
    """The service failed on this request."""

    code = "service"


class InferError(ServiceError):
    """`infer` failed on this request, alone in its batch; `__cause__` is what it raised."""

    code = "infer"


class KilledWorker(ServiceError):
    """Workers died whenever this request ran; it runs no more, and goes to the dead letters."""

    code = "killed-worker"


class TooLarge(ServiceError):
    """The device's memory can't hold the batch. A service's `infer` may raise it; the batch is then halved.

    `torch.cuda.OutOfMemoryError` is understood likewise. Only an item that does not fit alone fails.
    """

    code = "too-large"


class WrongResultCount(ServiceError):
    """`infer` did not return exactly one result for each item."""

    code = "result-count"


class EncodeError(ServiceError):
    """The result could not be encoded; `__cause__` is what `encode` raised."""

    code = "encode"


class ExecutorHung(RpcbError):
    """`infer` took longer than `infer_timeout`, in a thread, which can't be killed; the worker has ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"infer has not returned within infer_timeout ({seconds:g} s). A thread can't be killed, so the "
            "worker ends, and the broker redelivers what it held; raise infer_timeout if batches take longer"
        )


class ReplyTooBig(ServiceError):
    """The reply is larger than the broker, or `max_reply_size`, allows."""

    code = "reply-too-big"


class ExecutorLost(ExecutorHung):
    """A `ProcessExecutor` can't start its process; the worker has ended."""

    def __init__(self, why: str) -> None:
        RpcbError.__init__(self, f"the executor is lost: {why}; what the worker held is redelivered")


class BrokerError(RpcbError):
    """The broker or the way to it is at fault."""


class SessionLost(BrokerError):
    """The session with the broker has ended; what it delivered and was not settled is redelivered."""


class LoginRefused(BrokerError):
    """The broker refused the user, the password, the virtual host or the certificate."""


class TopologyMismatch(BrokerError):
    """The broker has (or lacks) an exchange or a queue in a way that contradicts the settings."""


class DrainTimeout(RpcbError):
    """Draining took longer than `drain_timeout`; what was left unanswered is redelivered."""

    def __init__(self, seconds: float, left: int) -> None:
        super().__init__(
            f"drain_timeout of {seconds:g} s ran out with {left} request(s) unanswered; "
            "the broker redelivers them. Raise drain_timeout if batches take longer."
        )
        self.left = left


class CallError(RpcbError):
    """A call ended without a reply."""


class Unroutable(CallError):
    """No queue is bound where the request was sent; the broker returned it."""


class Refused(CallError):
    """The broker would not take the request: the queue is full."""


class RequestTooBig(CallError):
    """The request is larger than the broker takes (RabbitMQ's `max_message_size`); no worker saw it."""


class ReplyTimeout(CallError):
    """No reply came in time. The request may still be computed; a late reply is dropped."""


class CallInterrupted(CallError):
    """The connection was lost, or the client left, while the reply was awaited. It may have been computed."""


class RemoteError(CallError):
    """The worker answered with an error reply (see `Reply.raise_for_error`)."""


def first_leaf(group: BaseExceptionGroup[ErrorT]) -> ErrorT:
    """The first error of a group of them, for the one line that tells the operator."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
