"""A wrong setting of `serve` is refused before anything starts, by its name and with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from rpcb_trio import MemoryBroker, SettingError, serve
from tests.scenarios import QUEUE


def bytes_back(bodies: list[bytes]) -> list[bytes]:
    return bodies


@pytest.mark.parametrize(("prefetch", "executors", "least"), [(10, 1, 64), (95, 2, 96)])
async def test_a_prefetch_too_small_for_full_batches_is_refused_and_both_numbers_are_named(
    prefetch: int, executors: int, least: int
) -> None:
    with pytest.raises(SettingError, match=rf"prefetch is {prefetch}.*at least {least} "):
        await serve(bytes_back, MemoryBroker(), QUEUE, prefetch=prefetch, replicas=executors)


@pytest.mark.parametrize(
    "settings", [{"prefetch": 70_000}, {"replicas": 0}, {"decode_threads": 0}, {"executors": []}]
)
async def test_a_senseless_setting_is_refused_by_its_name_before_anything_starts(
    settings: dict[str, Any],
) -> None:
    (name,) = settings
    with pytest.raises(SettingError, match=f"^{name} is"):
        await serve(bytes_back, MemoryBroker(), QUEUE, **settings)
