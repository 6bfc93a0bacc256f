"""The settings that a running worker can change, and what of them is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, TypedDict

from rpcb_trio._batching import Policy
from rpcb_trio._bounds import check_choice
from rpcb_trio._cache import Cache
from rpcb_trio._pipeline._admission import Rules
from rpcb_trio._pipeline._checks import (
    check_numbers,
    checked_cache,
    checked_intake,
    checked_policy,
    checked_shares,
)
from rpcb_trio._shares import Shares
from rpcb_trio.errors import SettingError


class LiveSettings(TypedDict, total=False):
    """The arguments of `serve` that `Worker.change` takes as well."""

    batching: Policy
    prefetch: int | None
    prefetch_follows: bool
    max_pending: int | None
    shares: Shares | None
    expired: Literal["answer", "drop"]
    no_reply_to: Literal["run", "dead-letter"]
    max_body_size: int | None
    max_reply_size: int | None
    check_caller: bool
    remember_replies: int
    cache: Cache | None
    hook_timeout: float
    batch_headers: bool
    drain_timeout: float


Changes: TypeAlias = Mapping[str, tuple[object, object]]
"""What was changed, by name: as it was, and as it is."""


def checked_intake_of(settings: LiveSettings, executors: int) -> tuple[int, int | None]:
    """Check all of them together, and return the prefetch and the `max_pending` that they ask for.

    Raises:
        SettingError: one is wrong, or they don't go together.
    """
    policy = checked_policy(settings["batching"])
    check_choice("expired", settings["expired"], ("answer", "drop"))
    check_choice("no_reply_to", settings["no_reply_to"], ("run", "dead-letter"))
    check_numbers(
        max_body_size=settings["max_body_size"],
        max_reply_size=settings["max_reply_size"],
        remember_replies=settings["remember_replies"],
        hook_timeout=settings["hook_timeout"],
        drain_timeout=settings["drain_timeout"],
    )
    checked_cache(settings["cache"])
    return checked_intake(
        settings["prefetch"],
        settings["max_pending"],
        checked_shares(settings["shares"]),
        max_batch_size=policy.max_batch_size,
        executors=executors,
    )


def refuse_others(names: Mapping[str, object]) -> None:
    """Refuse what only a start can set.

    Raises:
        SettingError: one of these names is no live setting.
    """
    live = LiveSettings.__annotations__
    for name in names:
        if name not in live:
            raise SettingError(
                f"{name} can't be changed while a worker runs, only {', '.join(live)}; start another worker "
                "with it, and drain this one"
            )


def rules_of(settings: LiveSettings, max_pending: int | None) -> Rules:
    """Which requests are admitted."""
    return Rules(
        max_pending=max_pending,
        max_body_size=settings["max_body_size"],
        needs_reply_to=settings["no_reply_to"] == "dead-letter",
        checks_caller=settings["check_caller"],
    )


def differences(before: LiveSettings, after: LiveSettings) -> dict[str, tuple[object, object]]:
    """What differs, a policy by its own settings."""
    told = {name: (before[name], value) for name, value in after.items() if before[name] != value}  # type: ignore[literal-required] # all are there
    if "batching" in told:
        del told["batching"]
        told = {**_of_policies(before["batching"], after["batching"]), **told}
    return told


def _of_policies(before: Policy, after: Policy) -> dict[str, tuple[object, object]]:
    kinds = type(before).__name__, type(after).__name__
    told: dict[str, tuple[object, object]] = {} if kinds[0] == kinds[1] else {"batching": kinds}
    earlier = before.settings
    for name, value in after.settings.items():
        if name in earlier and earlier[name] != value:
            told[name] = earlier[name], value
        elif name not in earlier and value:
            told[name] = None, value
    return told
