"""Every request by its number: what was sent, what came of it, and what must not have.

It is kept in arrays, some sixteen bytes a request, since a soak of a night has millions. Several threads
write to it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable

import msgspec

from benches.soak.bodies import Kind, checksum_of, number_in, read_result
from benches.soak.course import Phase
from benches.soak.endings import DUE, ERRORS, Again, Ending, Mark, ending_of

MOST_REMARKS = 20
PHASES = [None, *Phase]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, as a producer got it."""

    body: bytes
    address: int
    """Whose it is: which producer got it."""
    correlated: int | None
    """The number that its correlation id says; None where it has none."""
    error: str | None = None
    redelivered: bool = False
    """Whether the producer may have got this very message before."""


class Accounts:
    """The book of all requests.

    Args:
        disturbed: tells whether anything failed between two moments, in seconds of `time.monotonic()`.
        withheld: tells whether confirms of replies to a producer were withheld between them.
    """

    def __init__(
        self,
        disturbed: Callable[[float, float], bool] = lambda _since, _until: True,
        withheld: Callable[[int, float, float], bool] = lambda _address, _since, _until: False,
    ) -> None:
        self._disturbed = disturbed
        self._withheld = withheld
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._kinds, self._addresses = bytearray(), bytearray()
        self._marks, self._runs, self._sent_at = array("H"), array("L"), array("f")
        self._open: Counter[int] = Counter()
        self.wrong: list[str] = []
        """Replies that were not their request's."""
        self.unexpected: list[str] = []
        """Ends that are not due to such a request."""
        self.again: Counter[Again] = Counter()
        self.buried_again = 0
        self.buried_unconfirmed = 0
        """How many went to the dead letters since the broker did not confirm their replies."""
        self._phase: Phase | None = None
        self.latencies: dict[Phase | None, array[float]] = {Phase.QUIET: array("f"), Phase.STORM: array("f")}
        """Seconds from a plain request to its first reply, by the phase that it was sent in."""
        self._phases = bytearray()
        self.answered_in: Counter[int] = Counter()
        """How many replies came in each second since the beginning."""

    @property
    def sent(self) -> int:
        return len(self._kinds)

    @property
    def open(self) -> int:
        """How many of them are waited for."""
        return self._open.total()

    def waiting_at(self, address: int) -> int:
        """How many of one producer's requests are waited for."""
        return self._open[address]

    def note_phase(self, phase: Phase) -> None:
        """What is sent from now on is sent in this phase."""
        self._phase = phase

    def send(self, kind: Kind, address: int) -> int:
        """Enter a request that is about to be sent, and return its number."""
        with self._lock:
            self._kinds.append(kind.value)
            self._addresses.append(address)
            self._marks.append(0)
            self._phases.append(PHASES.index(self._phase))
            self._runs.append(0)
            self._sent_at.append(time.monotonic() - self._began)
            self._open[address] += 1
            return len(self._kinds) - 1

    def mark(self, number: int, mark: Mark) -> None:
        """Note what a producer knows of its request."""
        with self._lock:
            self._mark(number, mark)

    def lose_address(self, address: int, since: int) -> None:
        """A producer's reply address is gone; what it still waits for, from this number on, never comes."""
        with self._lock:
            for number in range(since, self.sent):
                if self._addresses[number] == address and not self._is_over(number):
                    self._mark(number, Mark.GONE)

    def bury(self, body: bytes, *, expired: bool, redelivered: bool = False) -> None:
        """Enter what was found in the dead-letter queue; `redelivered` if it may have been found before."""
        with self._lock:
            number = self._known(number_in(body))
            if number is None:
                self._remark(self.wrong, f"a dead letter that nobody sent: {body[:80]!r}")
                return
            mark = Mark.EXPIRED if expired else Mark.DEAD
            self.buried_again += bool(self._marks[number] & Mark.BURIED) and not redelivered
            since = self._began + self._sent_at[number]
            if not expired and self._withheld(self._addresses[number], since, time.monotonic()):
                self.buried_unconfirmed += 1
            else:
                self._expect(number, mark, "dead-lettered" + (" as expired" if expired else ""))
            self._mark(number, mark | Mark.BURIED)

    def reply(self, seen: Seen) -> None:
        """Check a reply and enter it."""
        with self._lock:
            self.answered_in[int(time.monotonic() - self._began)] += 1
            number = self._known(number_in(seen.body) if seen.correlated is None else seen.correlated)
            fault = "nobody asked for it" if number is None else self._fault(number, seen)
            if fault or number is None:
                self._remark(self.wrong, f"{fault}: {seen.body[:80]!r}, {seen.correlated}, {seen.error}")
            elif seen.error is None:
                self._answer(number, read_result(seen.body).run, seen)
            else:
                self._fail(number, seen)

    def endings(self) -> Counter[tuple[Ending, Kind, int]]:
        """How many requests of each kind and address ended in which way."""
        with self._lock:
            each = zip(self._marks, self._kinds, self._addresses, strict=True)
            counted = Counter(each)
        found: Counter[tuple[Ending, Kind, int]] = Counter()
        for (marks, kind, address), count in counted.items():
            found[ending_of(marks), Kind(kind), address] += count
        return found

    def lost(self) -> list[str]:
        """The requests that are lost, for people; the first of them."""
        lost = [n for n, marks in enumerate(self._marks) if ending_of(marks) is Ending.LOST]
        return [self._tell(number) for number in lost[:MOST_REMARKS]]

    def _answer(self, number: int, run: int, seen: Seen) -> None:
        self._expect(number, Mark.ANSWERED, "answered")
        if not self._marks[number] & Mark.ANSWERED:
            self._runs[number] = run
            found = self.latencies.get(PHASES[self._phases[number]])
            if found is not None and self._kinds[number] == Kind.PLAIN.value:
                found.append(time.monotonic() - self._began - self._sent_at[number])
        elif self._runs[number] != run:
            since, until = self._began + self._sent_at[number], time.monotonic()
            explained = self._disturbed(since, until)
            self.again[Again.COMPUTED if explained else Again.UNEXPLAINED] += 1
        elif not seen.redelivered:
            self.again[Again.SENT] += 1
        self._mark(number, Mark.ANSWERED)

    def _fail(self, number: int, seen: Seen) -> None:
        kind = Kind(self._kinds[number])
        mark = Mark.EXPIRED if kind is Kind.EXPIRING else Mark.FAILED
        if seen.error in ERRORS.get(kind, set()):
            if self._marks[number] & mark and not seen.redelivered:
                self.again[Again.SENT] += 1
        else:
            self._remark(self.unexpected, f"{self._tell(number)}: {seen.error}: {seen.body[:200]!r}")
        self._mark(number, mark)

    def _fault(self, number: int, seen: Seen) -> str | None:
        kind = Kind(self._kinds[number])
        said = number_in(seen.body)
        if self._addresses[number] != seen.address:
            return f"sent to producer {seen.address} instead of {self._addresses[number]}"
        if (seen.correlated is None) is not (kind is Kind.BARE):
            return "the correlation id is " + ("missing" if kind is not Kind.BARE else "invented")
        if said is not None and said != number:
            return "the correlation id is another request's"
        try:
            is_right = seen.error is not None or read_result(seen.body).checksum == checksum_of(number, kind)
        except ValueError:
            return "this is no reply of the service"
        return None if is_right else "the model saw another request"

    def _expect(self, number: int, mark: Mark, what: str) -> None:
        if not DUE[Kind(self._kinds[number])] & mark:
            self._remark(self.unexpected, f"{self._tell(number)}: {what}")

    def _tell(self, number: int) -> str:
        kind, marks = Kind(self._kinds[number]), Mark(self._marks[number])
        when = self._sent_at[number]
        return f"{number} ({kind.name}, producer {self._addresses[number]}, sent at {when:.1f} s, {marks!r})"

    def _mark(self, number: int, mark: Mark) -> None:
        was_over = self._is_over(number)
        self._marks[number] |= mark
        if self._is_over(number) and not was_over:
            self._open[self._addresses[number]] -= 1

    def _is_over(self, number: int) -> bool:
        return bool(self._marks[number] & ~Mark.CONFIRMED)

    def _known(self, number: int | None) -> int | None:
        return number if number is not None and number < self.sent else None

    @staticmethod
    def _remark(remarks: list[str], remark: str) -> None:
        remarks.append(remark if len(remarks) < MOST_REMARKS else "")
