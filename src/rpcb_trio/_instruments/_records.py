"""The lines of an audit file, and how to read them back.

Each line is a JSON object. Its field `line` says what it records:

    start       a worker starts (`AuditStart`)
    batch       a batch is computed (`AuditBatch`)
    refused     a request is not computed (`AuditRefused`)

Its field `start` says to which start of which worker it belongs, since several workers may share one file.
Batches stand in the order they were computed in. Costs are in the unit of `service.cost`, all times in
seconds. There are two clocks: `unix` is seconds since 1970, all other times are readings of the worker's own
monotonic clock, which differs from process to process. Readers ignore fields they don't know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from rpcb_trio._instruments._instrument import Setup
from rpcb_trio._messages import Run, Trigger, Work
from rpcb_trio.errors import SettingError

SCHEMA = 2
"""Of the lines; it grows whenever a field changes its meaning or is removed."""


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request, as a policy sees it, and by what it is followed."""

    position: int | None
    """In the list that `infer` was given, where the first is 0; None where it was not computed."""
    correlation_id: str | None
    caller: str | None
    """A hash of its `reply_to`, the same in every file. The address itself is not written, because whoever
    knows a direct reply-to address can send there."""
    priority: int
    cost: float | None
    """None where the request was not decoded."""
    arrived: float
    deadline: float | None
    """Seconds from its arrival; None where it never expires."""
    redelivered: bool
    wait: float
    """Seconds from its arrival until its batch was closed, or until it was refused."""
    request_id: str | None = None
    """Of its header `x-request-id`: the same as at the gateway and in the log. Left out where it has none."""
    trace_id: str | None = None
    """Of its header `traceparent`, in hex. Left out where it has none."""
    tenant: str | None = None
    """Whose it is, where tenants share the worker. An address that is answered at is written as its hash."""


class AuditLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="line"):
    """The fields of every line."""

    start: str
    """The random id of a worker's start."""
    worker: str
    unix: float
    at: float
    """When it happened; for a batch, when it was closed."""


class AuditStart(AuditLine, frozen=True, kw_only=True, tag="start"):
    """A worker started."""

    schema: int
    setup: Setup


class AuditBatch(AuditLine, frozen=True, kw_only=True, tag="batch"):
    """A batch was computed."""

    id: int
    """Unique within a process."""
    trigger: Trigger
    size: int
    work: Work
    predicted: float | None
    """The service time that the policy expected; None where it does not predict."""
    version: str | None = None
    """Of the model that computed it; None where that has none."""
    seconds: float
    """Its service time, with the further runs where it was split."""
    runs: tuple[Run, ...]
    """Several where it was split."""
    requests: tuple[AuditRequest, ...]


class AuditRefused(AuditLine, frozen=True, kw_only=True, tag="refused"):
    """A request was not computed."""

    why: str
    """The error's code: `expired`, `too-late`, `overloaded`, `decode`, or the service's own."""
    request: AuditRequest


AnyLine: TypeAlias = AuditStart | AuditBatch | AuditRefused


class Audit(msgspec.Struct, frozen=True):
    """What one worker recorded, from one start to its end."""

    start: AuditStart
    batches: tuple[AuditBatch, ...]
    """In the order they were computed."""
    refused: tuple[AuditRefused, ...]


def read_audit(path: Path | str) -> list[Audit]:
    """Read an audit file, one `Audit` for each start in it, in order.

    Raises:
        SettingError: it can't be read, or a line is broken; the message names the line.
    """
    starts: dict[str, AuditStart] = {}
    batches: dict[str, list[AuditBatch]] = {}
    refused: dict[str, list[AuditRefused]] = {}
    for where, line in _lines(path):
        if isinstance(line, AuditStart):
            starts[line.start], batches[line.start], refused[line.start] = line, [], []
        elif line.start not in starts:
            raise SettingError(
                f"{where}: the line of its start is not above it; put the older part of the file before it"
            )
        elif isinstance(line, AuditBatch):
            batches[line.start].append(line)
        else:
            refused[line.start].append(line)
    return [Audit(starts[each], tuple(batches[each]), tuple(refused[each])) for each in starts]


def _lines(path: Path | str) -> Iterator[tuple[str, AnyLine]]:
    try:
        with Path(path).open("rb") as file:
            for number, text in enumerate(file, start=1):
                where = f"{path}, line {number}"
                remedy = "remove it" if number > 1 else "name a file that --audit wrote, or remove the line"
                yield where, _read_line(where, text, remedy)
    except OSError as error:
        raise SettingError(f"{path}: it can't be read ({error.strerror}); name an audit file") from error


def _read_line(where: str, text: bytes, remedy: str) -> AnyLine:
    try:
        line: AnyLine = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingError(f"{where}: this is no line of an audit ({error}); {remedy}") from error
    if isinstance(line, AuditStart) and line.schema != SCHEMA:
        raise SettingError(
            f"{where}: it is of schema {line.schema}, and this version reads {SCHEMA}; "
            "use the version that wrote it"
        )
    return line


_decoder = msgspec.json.Decoder[AnyLine](AnyLine)
