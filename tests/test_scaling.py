"""How many workers a load needs, from what one worker was measured and simulated to answer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from rpcb_trio import SettingError
from rpcb_trio._commands.tune._keda import scaled_object
from rpcb_trio._measure import Demand, Objective, Predicted, Scaling, Setting, law_by_hand, scale
from tests.kubernetes import KIT, check, kustomized, of_kind
from tests.scenarios import steady

GPU = law_by_hand(0.020, 0.001)
OBJECTIVE = Objective(p99=0.3)


def worker(highest: float | None, size: int = 32, replicas: int = 1) -> Predicted:
    return Predicted(
        setting=Setting(size, replicas),
        mean=0.1,
        p99=0.2,
        busy_share=0.5,
        keeps_up=True,
        meets=True,
        capacity=1000.0,
        highest=highest,
    )


def scaled(highest: float = 100.0, rate: float = 1000.0, queue_seconds: float | None = None) -> Scaling:
    return scale(worker(highest), GPU, 1.0, Demand(rate), OBJECTIVE, queue_seconds=queue_seconds)


@steady
@given(
    highest=st.floats(1e-3, 1e5),
    rate=st.floats(1e-3, 1e6),
    size=st.integers(1, 1024),
    replicas=st.integers(1, 8),
    queue_seconds=st.none() | st.floats(1e-3, 1e4),
    seconds=st.floats(1e-6, 100.0),
)
def test_the_workers_bear_the_load_a_busy_one_calls_for_no_other_and_each_has_time_to_drain(
    *, highest: float, rate: float, size: int, replicas: int, queue_seconds: float | None, seconds: float
) -> None:
    each = worker(highest, size, replicas)
    assume(queue_seconds is None or highest * queue_seconds >= each.setting.prefetch + 1)
    found = scale(each, law_by_hand(seconds, 0.0), 1.0, Demand(rate), OBJECTIVE, queue_seconds=queue_seconds)
    assert (found.most_workers - 1) * highest >= rate * (1 - 1e-9)
    assert found.backlog > each.setting.prefetch
    assert found.backlog <= highest * found.queue_seconds + 1e-3
    assert found.drain_timeout >= max(30, each.setting.prefetch / size / replicas * seconds)
    assert found.grace >= found.drain_timeout + 5


@steady
@given(highest=st.floats(1e-3, 60.0), queue_seconds=st.floats(1e-3, 1.0))
def test_a_queue_that_a_busy_worker_holds_alone_is_refused_with_one_that_does(
    highest: float, queue_seconds: float
) -> None:
    with pytest.raises(SettingError, match="prefetch") as caught:
        scaled(highest, queue_seconds=queue_seconds)
    _, _, remedy = str(caught.value).rpartition("--queue-seconds ")
    assert scaled(highest, queue_seconds=float(remedy.partition(" ")[0])).backlog > 64


def test_the_queue_is_what_ten_seconds_bring_or_as_much_as_is_above_the_prefetch() -> None:
    assert scaled(highest=100.0).backlog == 1000
    assert scaled(highest=2.0).backlog == 96


@pytest.mark.parametrize(
    ("highest", "demand", "objective", "remedy"),
    [
        (100.0, Demand(callers=10), OBJECTIVE, "--rate"),
        (100.0, Demand(10.0), Objective(), "--p99 or --mean"),
        (0.0, Demand(10.0), OBJECTIVE, "allow a longer latency"),
    ],
    ids=["no rate", "no objective", "too slow"],
)
def test_what_does_not_follow_is_refused_with_a_remedy(
    highest: float, demand: Demand, objective: Objective, remedy: str
) -> None:
    with pytest.raises(SettingError, match=remedy):
        scale(worker(highest), GPU, 1.0, demand, objective)


@steady
@given(queue=st.text(min_size=1, max_size=60), highest=st.floats(1e-3, 1e5))
def test_what_is_printed_is_an_object_that_the_server_takes_whatever_the_queue_is_called(
    queue: str, highest: float
) -> None:
    found = scaled(highest)
    thing = yaml.safe_load(scaled_object(found, queue, "rpcb-worker"))
    check(thing)
    by_rate, by_length = (trigger["metadata"] for trigger in thing["spec"]["triggers"])
    assert by_rate["queueName"] == by_length["queueName"] == queue
    assert float(by_rate["value"]) == pytest.approx(highest, rel=1e-3)
    assert int(by_length["value"]) == found.backlog
    assert thing["spec"]["maxReplicaCount"] == math.ceil(1000.0 / highest) + 1


def test_it_is_also_the_patch_that_gives_the_kit_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "scaledobject.yaml").write_text(scaled_object(scaled(), "asr", "rpcb-worker"))
    objects = kustomized(
        tmp_path,
        resources=[KIT / "worker"],
        components=[KIT / "keda-http"],
        patches=[{"path": "scaledobject.yaml"}],
    )
    [found] = of_kind(objects, "ScaledObject")
    assert found["spec"]["maxReplicaCount"] == 11
    assert [trigger["metadata"]["value"] for trigger in found["spec"]["triggers"]] == ["100", "1000"]
