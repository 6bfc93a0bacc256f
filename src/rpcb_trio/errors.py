"""Errors, divided by whose fault they are.

- `OutcomeError`: ends one request with an error reply; the others of its batch are not affected. Its `kind`
  says whose fault it is, and is sent with the reply:
    - `RequestError`: the request's own. Another attempt ends the same way.
    - `ServiceError`: the service's. The operator should look.
    - `Busy`: no one's. There was no time or no room for it; another attempt may succeed.
- `ExecutorHung`: the service's too, but the worker can't go on. What was held is redelivered.
- `BrokerError`: the broker's or the network's. What was held is redelivered.
- `SettingError`: the operator's. Nothing was started.
- `CallError`: ends an `RpcClient.call`, or what is asked of a job, without a reply. `rpcb_trio.RemoteError`
  is the one that has a reply.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar

from rpcb_trio._shown import shown

Kind: TypeAlias = Literal["request", "service", "busy"]
"""Whose fault an error is: the request's own, the service's, or no one's: there was no time or no room."""

__all__ = [
    "BodyTooBig",
    "BrokerError",
    "Busy",
    "CallError",
    "CallInterrupted",
    "CallerCancelled",
    "CallerGone",
    "ClaimFailed",
    "ClaimRefused",
    "ClaimsUnavailable",
    "CostError",
    "DecodeError",
    "DeviceLost",
    "DrainTimeout",
    "EncodeError",
    "ExecutorHung",
    "ExecutorLost",
    "Expired",
    "HookTimeout",
    "HooksHung",
    "InferError",
    "InvalidRequest",
    "JobGone",
    "KilledWorker",
    "Kind",
    "LoginRefused",
    "NoReplyTo",
    "OutOfMemory",
    "OutcomeError",
    "Overloaded",
    "PublishRefused",
    "ReplyTimeout",
    "ReplyTooBig",
    "RequestError",
    "RequestTooBig",
    "RpcbError",
    "ServiceError",
    "SessionLost",
    "SettingError",
    "StreamChanged",
    "StreamOverrun",
    "SwapInterrupted",
    "TooLate",
    "TopologyMismatch",
    "Unroutable",
    "WarmUpFailed",
    "WrongResultCount",
]

LONGEST_PATH = 200
"""Characters of a path in an error's text; it may quote keys of its caller's."""

ErrorT = TypeVar("ErrorT", bound=Exception)


class RpcbError(Exception):
    """Every error this package raises on purpose.

    It can be pickled, and so can its subclasses, whatever arguments their constructors take.
    """

    def __reduce__(self) -> tuple[object, ...]:
        # By default the constructor is called with `args`: a text, where it may take numbers.
        return type(self).__new__, (type(self), *self.args), vars(self)


class SettingError(RpcbError):
    """A setting is wrong; the message names it and the remedy."""


class OutcomeError(RpcbError):
    """A request ends in an error reply instead of a result.

    An exception that a service raised never leaves its thread: an error of this package stands for it, with
    bounded texts.
    """

    code: str = "error"
    """One word for the error, sent in the reply's `rpcb-error` header and used as a metrics label."""
    kind: Kind = "service"
    """Whose fault it is, sent in the reply's `rpcb-error-kind` header."""
    cause: str = ""
    """What the service raised, as `ValueError: its text`, where it was no error of this package."""
    where: str | None = None
    """Where the service raised it, as `model.py:8 in infer`; empty where it was returned, not raised."""
    frames: str = ""
    """The traceback within the service's own code, as Python writes it; bounded."""
    own: OutcomeError | None = None
    """What the service raised, where that was an `OutcomeError` of its own; its `encode` gets that."""

    @property
    def in_full(self) -> str:
        """The text with the cause and the place, for a line of the log."""
        text = str(self)
        if self.cause:  # its type may end the text already
            kind = self.cause.partition(":")[0]
            text = f"{text.removesuffix(f': {kind}')}: {self.cause}"
        return f"{shown(text)} ({self.where})" if self.where else shown(text)


class RequestError(OutcomeError):
    """The request itself is at fault; raise it (or a subclass) from a service's hooks.

    A subclass may carry what the service's own error reply needs (a status, say), and a `code` of its own.
    """

    code = "request"
    kind: Kind = "request"


class DecodeError(RequestError):
    """The body could not be decoded; `__cause__` is what `decode` raised."""

    code = "decode"


class InvalidRequest(RequestError):
    """The body is not what the service's annotations ask for.

    Args:
        message: what is wrong there.
        path: to the wrong value, as `$.text` or `$.scores[2]`; `$` is all of the body.
    """

    code = "invalid"
    path: str = "$"

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        """With the path before it, bounded, where that is not all of the body."""
        message = super().__str__()
        return message if self.path == "$" else f"{shown(self.path, LONGEST_PATH)}: {message}"


class BodyTooBig(RequestError):
    """The body is larger than `max_body_size`; it was not decoded."""

    code = "too-big"


class ClaimRefused(RequestError):
    """The body is not where the request claims it to be, or is another one; it was not computed."""

    code = "claim"


class NoReplyTo(RequestError):
    """The request has no reply_to, so it is not computed, as set; it goes to the dead letters."""

    code = "no-reply-to"


class CallerGone(RequestError):
    """The caller's direct reply-to address leads nowhere any more; the request was not computed."""

    code = "caller-gone"


class CallerCancelled(RequestError):
    """Its caller has given the request up, and said so; it gets no reply."""

    code = "cancelled"


class Busy(OutcomeError):
    """There was no time or no room for the request; it was not computed, and may be sent again."""

    code = "busy"
    kind: Kind = "busy"


class Expired(Busy):
    """The request's time to live ran out before a batch had room for it; it was not computed."""

    code = "expired"


class TooLate(Expired):
    """It has not expired yet, but would have before its batch was done; it was not computed."""

    code = "too-late"


class Overloaded(Busy):
    """More requests wait than `max_pending` or its tenant's share of it allows; it was not computed."""

    code = "overloaded"


class ClaimsUnavailable(Busy):
    """The store that holds the request's body can't be read now; it was not computed."""

    code = "claims-unavailable"


class ServiceError(OutcomeError):
    """The service failed on this request."""

    code = "service"


class CostError(ServiceError):
    """`cost` failed on what `decode` made of this request; `__cause__` is what it raised."""

    code = "cost"


class HookTimeout(ServiceError):
    """A hook took longer than `hook_timeout` on this request; its thread is left to run."""

    code = "hook-timeout"


class InferError(ServiceError):
    """`infer` failed on this request; `__cause__` is what it raised."""

    code = "infer"


class KilledWorker(ServiceError):
    """Workers died whenever this request ran; it is not run any more, and goes to the dead letters."""

    code = "killed-worker"
    encodable = True
    """Whether the service's `encode` may make the reply; not where workers died during that, too."""


class OutOfMemory(ServiceError):
    """The device's memory can't hold the batch. A service's `infer` may raise it; the batch is then halved.

    `torch.cuda.OutOfMemoryError` is understood likewise. Only an item that does not fit alone fails.
    """

    code = "out-of-memory"


class WrongResultCount(ServiceError):
    """`infer` did not return exactly one result for each item."""

    code = "result-count"


class EncodeError(ServiceError):
    """The result could not be encoded; `__cause__` is what `encode` raised."""

    code = "encode"


class WarmUpFailed(RpcbError):
    """The service could not be warmed up; the message says which hook raised what, and where."""


class ExecutorHung(RpcbError):
    """`infer` took longer than `infer_timeout`, in a thread, which can't be killed; the worker has ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"infer has not returned within infer_timeout ({seconds:g} s). A thread can't be killed, so the "
            "worker ends, and the broker redelivers what it held; raise infer_timeout if batches take longer"
        )


class HooksHung(ExecutorHung):
    """Too many threads do not return from the service's `decode`, `cost` or `encode`; the worker ends."""

    def __init__(self, threads: int) -> None:
        RpcbError.__init__(
            self,
            f"{threads} threads have not returned from decode, cost or encode within hook_timeout. Threads "
            "can't be killed, so the worker ends, and the broker redelivers what it held",
        )


class SwapInterrupted(RpcbError):
    """The worker drains, or has ended, so its model was not swapped."""

    def __init__(self) -> None:
        super().__init__("the worker drains or has ended, so its model was not swapped")


class ReplyTooBig(ServiceError):
    """The reply is larger than the broker, or `max_reply_size`, allows."""

    code = "reply-too-big"


class ExecutorLost(ExecutorHung):
    """A `ProcessExecutor` can't start its process; the worker has ended."""

    def __init__(self, why: str) -> None:
        RpcbError.__init__(self, f"the executor is lost: {why}")


class DeviceLost(ExecutorHung):
    """The model's device is lost to its process for good, as after some CUDA errors; the worker has ended."""

    def __init__(self, why: str) -> None:
        RpcbError.__init__(self, why)


class BrokerError(RpcbError):
    """The broker, or the network, is at fault."""


class SessionLost(BrokerError):
    """The session with the broker has ended; what it delivered and was not settled is redelivered."""


class LoginRefused(BrokerError):
    """The broker refused the user, the password, the virtual host or the certificate."""


class TopologyMismatch(BrokerError):
    """An exchange or a queue at the broker differs from the settings, or is missing."""


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

    code: str = "call"
    """One word for the error."""


class Unroutable(CallError):
    """No queue is bound where the request was sent; the broker returned it."""

    code = "unroutable"


class PublishRefused(CallError):
    """The broker refused the request: the queue is full."""

    code = "refused"


class RequestTooBig(CallError):
    """The request is larger than the broker takes (RabbitMQ's `max_message_size`); it was not sent."""

    code = "too-big"


class ClaimFailed(CallError):
    """A body that is too large for the broker could not be put into the store, or not fetched from there."""

    code = "claim"


class ReplyTimeout(CallError):
    """No reply came in time. The request may still be computed; a late reply is dropped."""

    code = "timeout"


class StreamOverrun(CallError):
    """More of a reply came than the caller has read, and than may wait for it (`max_unread`)."""

    code = "overrun"


class StreamChanged(CallError):
    """A worker died, and the reply began anew with other parts than those that had come before."""

    code = "changed"


class CallInterrupted(CallError):
    """The connection was lost, or the client closed, before the reply came. It may have been computed."""

    code = "interrupted"


class JobGone(CallError):
    """There is no such job: it was forgotten, nobody looked at it for as long as it is kept, or never was."""

    code = "job-gone"


def without_path(error: OutcomeError) -> str:
    """Its text, without the path that an `InvalidRequest` has before it."""
    has_path = type(error).__str__ is InvalidRequest.__str__  # a subclass may have a text of its own
    return Exception.__str__(error) if has_path else str(error)


def first_leaf(group: BaseExceptionGroup[ErrorT]) -> ErrorT:
    """The first error in a nest of groups."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
