"""What has changed between two readings of the settings, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec

from rpcb_trio._commands._settings._parameters import declared

SettingsT = TypeVar("SettingsT")

NOT_SET = "not set"

SAID = {"live": "changed live", "restart": "needs a restart", "failed": "could not be changed"}


class Change(msgspec.Struct, frozen=True):
    """One setting that has another value than the one in force. The values are written as a person would."""

    worker: str | None
    """None where it is the whole process's."""
    setting: str
    before: str
    after: str
    outcome: Literal["live", "restart", "failed"]
    """Whether it was changed, needs a restart, or could not be changed."""
    why: str | None = None
    """Why it could not."""

    def __str__(self) -> str:
        whose = "" if self.worker is None else f"{self.worker}: "
        why = "" if self.why is None else f" ({self.why})"
        return f"{whose}{self.setting}: {SAID[self.outcome]}, {self.before} -> {self.after}{why}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a reload."""

    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    """How many settings are as they were."""
    error: str | None = None
    """Why nothing was changed, where that is so."""
    is_passing: bool = False
    """Whether that says nothing of the settings: the process starts, or drains."""

    def of(self, outcome: str) -> Sequence[Change]:
        """Those with this outcome."""
        return [each for each in self.changes if each.outcome == outcome]

    def __str__(self) -> str:
        """In a line."""
        if self.error is not None:
            return f"{self.error}; nothing was changed"
        live, restart, failed = (len(self.of(each)) for each in SAID)
        and_failed = f", {failed} could not be changed" if failed else ""
        return f"{live} changed live, {restart} need(s) a restart{and_failed}, {self.unchanged} unchanged"


def changes_between(worker: str | None, before: object, after: object) -> Iterator[Change]:
    """What differs in two tables of one kind."""
    for name, (_, _, reader) in declared(type(before)).items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            shown = reader.show(old), reader.show(new)
            yield Change(worker, name, *shown, "live" if reader.is_live else "restart")


def with_live(before: SettingsT, after: SettingsT) -> SettingsT:
    """What is in force once all that can has changed."""
    return replace(before, **live_of(before, after))  # type: ignore[type-var] # a dataclass


def live_of(before: object, after: object) -> Mapping[str, Any]:
    """The new values of what can change and has."""
    return {
        name: getattr(after, name)
        for name, (_, _, reader) in declared(type(before)).items()
        if reader.is_live and getattr(before, name) != getattr(after, name)
    }
