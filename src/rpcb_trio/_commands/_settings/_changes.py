"""What has changed between two readings of the settings, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec

from rpcb_trio._commands._settings._parameters import declared

SettingsT = TypeVar("SettingsT")

NOT_SET = "not set"


class Change(msgspec.Struct, frozen=True):
    """One setting that has another value than the one in force. The values are written as a person would."""

    worker: str | None
    """None where it is the whole process's."""
    setting: str
    before: str
    after: str
    outcome: Literal["live", "restart"]
    """Whether it was changed, or needs a restart."""

    def __str__(self) -> str:
        whose = "" if self.worker is None else f"{self.worker}: "
        what = "changed live" if self.outcome == "live" else "needs a restart"
        return f"{whose}{self.setting}: {what}, {self.before} -> {self.after}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a reload."""

    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    """How many settings are as they were."""
    error: str | None = None
    """Why nothing was changed, where that is so."""

    @property
    def restarts(self) -> Sequence[Change]:
        """Those that need a restart."""
        return [each for each in self.changes if each.outcome == "restart"]

    def __str__(self) -> str:
        """In a line."""
        if self.error is not None:
            return f"{self.error}; nothing was changed"
        live = len(self.changes) - len(self.restarts)
        return f"{live} changed live, {len(self.restarts)} need(s) a restart, {self.unchanged} unchanged"


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
