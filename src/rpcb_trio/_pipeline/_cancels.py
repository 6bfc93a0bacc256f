"""Requests that their callers have given up.

A cancel meets its request wherever that is:

    not delivered yet       it is remembered for a while, and the request is dropped when it comes
    decoded, or waiting     it leaves before its batch closes
    in a batch              it is taken out where that has not begun
    computed                it is computed to its end, and its reply is dropped

To drop a request is to ack it without a reply. What is redelivered after a lost session was remembered, too.
All of it is best effort: a cancel may come too late, or be lost with a connection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from rpcb_trio._messages import CallId, Pending, Request
from rpcb_trio.errors import CallerCancelled, OutcomeError

REMEMBERED_SECONDS: Final = 600.0
"""How long a cancel waits for its request; one of ours carries its time to live, and that is mostly less."""

MOST_REMEMBERED: Final = 16384
"""Cancels that are remembered, of up to some 600 bytes each; the oldest are forgotten first."""

Withdraw = Callable[[Pending, OutcomeError], None]
"""Has one that waits for a batch leave, with an error; one that waits no more is passed over."""


def cancelled() -> CallerCancelled:
    """The error that stands for a reply which nobody awaits."""
    return CallerCancelled("its caller has cancelled it")


class Cancels:
    """What a worker knows of cancels and of the requests they may be for.

    Args:
        is_on: whether callers may cancel at all; if not, nothing here is to be told anything.
    """

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self._remembered: OrderedDict[CallId, float] = OrderedDict()
        """Until when, the oldest first."""
        self._held: dict[CallId, list[Request]] = {}
        self._pending: dict[Request, Pending] = {}
        self._cancelled: set[Request] = set()
        """Of those that are held."""
        self._called: dict[Request, list[Callable[[], None]]] = {}
        self._withdraw: Withdraw | None = None

    def __contains__(self, request: Request) -> bool:
        """Whether a request that is held is cancelled."""
        return request in self._cancelled

    @contextmanager
    def withdrawing(self, withdraw: Withdraw) -> Iterator[None]:
        """Have those that wait leave by `withdraw`, within the body."""
        self._withdraw = withdraw
        try:
            yield
        finally:
            self._withdraw = None

    def take(self, call: CallId) -> None:
        """A caller has given a request up."""
        now = trio.current_time()
        self._remember(call, now)
        for request in self._held.get(call, ()):
            if request in self._cancelled:
                continue
            self._cancelled.add(request)
            for each in self._called.pop(request, ()):
                each()
            pending = self._pending.get(request)
            if pending is not None and self._withdraw is not None:
                self._withdraw(pending, cancelled())

    def enter(self, requests: Iterable[Request]) -> list[Request]:
        """Requests are held from now on; returns those that were cancelled before they came."""
        now = trio.current_time()
        early = list[Request]()
        for request in requests:
            if request.correlation_id is None:  # nothing to know it by
                continue
            call = CallId(request.reply_to, request.correlation_id)
            self._held.setdefault(call, []).append(request)
            if self._remembered and self._remembered.get(call, now) > now:
                self._cancelled.add(request)
                early.append(request)
        return early

    def wait(self, pending: Iterable[Pending]) -> None:
        """These wait for a batch from now on."""
        self._pending.update((each.request, each) for each in pending)

    def on_cancel(self, request: Request, call: Callable[[], None]) -> None:
        """Have `call` called once a request that is held is cancelled; at once where it is already."""
        if request in self._cancelled:
            call()
        elif self.is_on and request.correlation_id is not None:  # nobody can name it
            self._called.setdefault(request, []).append(call)

    def off_cancel(self, request: Request, call: Callable[[], None]) -> None:
        """Have `call` called no more."""
        calls = self._called.get(request, [])
        if call in calls:
            calls.remove(call)
        if not calls:
            self._called.pop(request, None)

    def settle(self, requests: Iterable[Request]) -> None:
        """These are held no more."""
        for request in requests:
            if request.correlation_id is None:
                self._pending.pop(request, None)
                continue
            call = CallId(request.reply_to, request.correlation_id)
            several = self._held.get(call, [])
            if len(several) > 1:
                several.remove(request)
            else:
                self._held.pop(call, None)
            self._pending.pop(request, None)
            self._called.pop(request, None)
            self._cancelled.discard(request)

    def end_session(self) -> None:
        """Nothing is held any more; what was is delivered again, under other tags."""
        self._held.clear()
        self._pending.clear()
        self._cancelled.clear()
        self._called.clear()

    def _remember(self, call: CallId, now: float) -> None:
        remembered = self._remembered
        remembered.pop(call, None)
        remembered[call] = now + REMEMBERED_SECONDS
        while len(remembered) > MOST_REMEMBERED or next(iter(remembered.values())) <= now:
            remembered.popitem(last=False)
