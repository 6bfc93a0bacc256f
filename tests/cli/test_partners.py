"""What has an effect only with another setting is not taken alone, as if it were heeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from rpcb_trio import SettingError
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import ControlSettings, HealthSettings, MetricsSettings
from tests.cli.conftest import Ended

Run = Callable[..., Ended]

OF_SERVE = (Settings(), HealthSettings(), MetricsSettings(), ControlSettings())
OF_GATEWAY = (GatewaySettings(),)

SET: dict[str, Any] = {
    "batch_size": (4,),
    "batching": "fixed",
    "cache": 60.0,
    "cache_header": ("x-language",),
    "claims": ("claims",),
    "control_token": "sesame",
    "control_token_file": "token",
    "cors": ("https://example.org",),
    "cors_credentials": True,
    "events": "events",
    "exchange": "calls",
    "exchange_type": "direct",
    "executor": "process",
    "health_port": 0,
    "jobs": "jobs",
    "jobs_callback": ("https://example.org",),
    "jobs_secret": "c2VjcmV0",
    "jobs_secret_file": "secret",
    "jwt_algorithm": ("EdDSA",),
    "jwt_keys": "keys.pem",
    "latency_objective": 0.5,
    "max_wait": 0.0,
    "metrics": True,
    "tenant": "x-tenant",
    "weight": ("gold=3",),
}
"""Values of what needs another one, and of the others; of a number that is not here, one more than it is."""

NEEDING = [
    (tables, name, need)
    for tables in (OF_SERVE, OF_GATEWAY)
    for table in tables
    for name, (_, _, reader) in declared(type(table)).items()
    for need in reader.needs
]


def given(tables: tuple[Any, ...], **values: Any) -> list[Any]:
    """The tables with these values, each where it belongs."""
    return [
        replace(table, **{each.name: values[each.name] for each in fields(table) if each.name in values})
        for table in tables
    ]


def value_of(tables: tuple[Any, ...], name: str) -> Any:
    default = next(each.default for each in chain(*map(fields, tables)) if each.name == name)
    assert default is not MISSING
    return SET[name] if name in SET else (default or 0) + 1


@pytest.mark.parametrize(
    ("tables", "name", "need"), NEEDING, ids=[f"{name}-{need.split()[0]}" for _, name, need in NEEDING]
)
def test_a_setting_is_refused_without_the_other_one_that_it_needs_and_both_are_named(
    tables: tuple[Any, ...], name: str, need: str
) -> None:
    partner, _, wanted = need.partition(" = ")
    other = {"auto": "fixed"}.get(wanted)
    alone = {name: value_of(tables, name)} | ({partner: other} if other else {})
    with pytest.raises(SettingError, match=rf"^{name} .*{partner}.*"):
        check_partners(*given(tables, **alone))
    others = {partner: wanted or value_of(tables, partner)}
    others |= {"jobs": "jobs"} if partner == "jobs_callback" else {}  # which needs another one itself
    check_partners(*given(tables, **{**alone, **others}))
    check_partners(*tables)


def test_what_is_set_to_its_default_or_switched_off_misses_nothing() -> None:
    check_partners(*given(OF_SERVE, cache_max_bytes=64 * 2**20, metrics=False, weight=()))


def test_the_port_for_probes_can_be_left_out_where_an_image_says_at_which_address_it_is() -> None:
    check_partners(*given(OF_SERVE, health_host="0.0.0.0"))  # noqa: S104 - nothing listens


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            ["serve", "service:echo", "--queue=q", "--cache-max-bytes=1MiB"],
            "cache_max_bytes has no effect without cache; set that, too, or leave cache_max_bytes out",
        ),
        (
            ["serve", "service:echo", "--queue=q", "--max-batches=9"],
            "max_batches is for executor = process; leave it out, or set executor to process",
        ),
        (
            ["serve", "service:echo", "--queue=q", "--control-token=sesame"],
            "control_token has no effect without health_port; set that, too, or leave control_token out",
        ),
        (
            ["gateway", "--rpc=q", "--jobs-ttl=1h"],
            "jobs_ttl has no effect without jobs; set that, too, or leave jobs_ttl out",
        ),
        (
            ["gateway", "--rpc=q", "--max-streams=9"],
            (
                "max_streams has no effect without events, serve or jobs; "
                "set that, too, or leave max_streams out"
            ),
        ),
        (
            ["tune", "service:echo", "--body=x", "--queue-seconds=3"],
            "--queue-seconds has no effect without --keda; add that, or leave --queue-seconds out",
        ),
    ],
    ids=["cache", "executor", "port", "jobs", "any", "flag"],
)
def test_a_command_says_it_in_one_line(argv: list[str], line: str, run_command: Run, workplace: Path) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    ended = run_command(*argv)
    assert (ended.code, ended.line) == (2, f"rpcb-trio: {line}")


def test_of_several_workers_the_line_names_the_one(run_command: Run, workplace: Path) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    (workplace / "rpcb.toml").write_text(
        "target = 'service:echo'\ncache_max_bytes = '1MiB'\n"
        "[workers.one]\nqueue = 'a'\ncache = '60s'\n[workers.two]\nqueue = 'b'\n"
    )
    ended = run_command("serve")
    assert ended.code == 2
    assert ended.line.startswith("rpcb-trio: two: cache_max_bytes has no effect without cache; ")
