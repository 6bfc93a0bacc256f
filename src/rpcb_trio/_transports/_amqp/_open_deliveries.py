"""Which deliveries the broker still waits for, and how to ack them in the fewest frames."""

from __future__ import annotations

from collections.abc import Collection

from rpcb_trio._messages import Request


class OpenDeliveries:
    """The open deliveries of one session, in the order of their tags."""

    def __init__(self) -> None:
        self._open: dict[int, Request] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def requests(self) -> list[Request]:
        """Those that are open."""
        return list(self._open.values())

    def enter(self, request: Request) -> None:
        """A request was delivered; tags only ever grow, so the dict stays in their order."""
        self._open[request.tag] = request

    def holds(self, request: Request) -> bool:
        """Whether it was delivered by this session and is open; another session's tags mean nothing here."""
        return self._open.get(request.tag) is request

    def strike(self, tags: Collection[int]) -> list[tuple[int, bool]]:
        """Close deliveries; returns the acks to send for them, as tag and `multiple`.

        `multiple` acks everything up to its tag, so it is for tags before which nothing else is open.
        """
        last, count, struck = 0, 0, frozenset(tags)
        for tag in self._open:
            if tag not in struck:
                break
            last, count = tag, count + 1
        acks = [(tag, False) for tag in tags if tag > last]
        if count:
            acks.insert(0, (last, count > 1))
        for tag in tags:
            del self._open[tag]
        return acks
