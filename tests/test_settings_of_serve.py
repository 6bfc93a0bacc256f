"""A wrong setting of `serve` is refused before anything starts, by its name and with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from rpcb_trio import AutoPolicy, LogInstrument, MemoryBroker, SettingError, serve
from rpcb_trio._pipeline import checked_prefetch
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
    ("settings", "message"),
    [
        ({"max_pending": 31}, r"^max_pending is 31, but max_batch_size is 32"),
        ({"max_pending": 0}, r"^max_pending is 0, but max_batch_size is 32"),
        (
            {"max_pending": 64, "prefetch": 64},
            r"^max_pending is 64, .* prefetch of 64 .*raise prefetch to 97 ",
        ),
        (
            {"max_pending": 95, "prefetch": 97, "replicas": 2},
            r"^max_pending is 95, .* prefetch of 97 .*raise prefetch to 160 ",
        ),
        ({"max_pending": 65_535}, r"^prefetch is 65568; AMQP allows .* max_pending$"),
        ({"expired": "forget"}, r"^expired is 'forget'; set it to answer or drop$"),
    ],
)
async def test_a_bound_that_is_never_reached_or_lets_no_batch_fill_is_refused_with_the_remedy(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        await serve(bytes_back, MemoryBroker(), QUEUE, **settings)


@pytest.mark.parametrize(("prefetch", "enough"), [(None, 97), (66, 66)])
def test_the_prefetch_makes_room_for_those_who_wait_and_for_one_more(
    prefetch: int | None, enough: int
) -> None:
    assert checked_prefetch(prefetch, 32, 1, max_pending=64) == enough


@pytest.mark.parametrize(
    "settings", [{"prefetch": 70_000}, {"replicas": 0}, {"decode_threads": 0}, {"executors": []}]
)
async def test_a_senseless_setting_is_refused_by_its_name_before_anything_starts(
    settings: dict[str, Any],
) -> None:
    (name,) = settings
    with pytest.raises(SettingError, match=f"^{name} is"):
        await serve(bytes_back, MemoryBroker(), QUEUE, **settings)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batching": "auto"}, "batching is 'auto', which is no policy; give AutoPolicy()"),
        ({"batching": AutoPolicy}, "batching is <class .*AutoPolicy'>, which is no policy"),
        ({"drain_timeout": "5s"}, "drain_timeout is '5s'; it must be a number"),
        ({"max_body_size": "96MiB"}, "max_body_size is '96MiB'; it must be a number"),
        ({"instruments": LogInstrument()}, "instruments is a single one; give a list of them"),
        ({"devices": "cuda:0"}, r"devices is 'cuda:0'; give a list of them, as \['cuda:0'\]"),
    ],
    ids=["a name", "a class", "a time", "a size", "one instrument", "one device"],
)
async def test_a_setting_of_another_type_is_told_with_what_to_give(
    settings: dict[str, Any], parts: str
) -> None:
    with pytest.raises(SettingError, match=parts):
        await serve(bytes_back, MemoryBroker(), QUEUE, **settings)
