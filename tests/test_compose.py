"""The containers are described as docker-compose accepts it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from rpcb_trio._commands._settings._broker import url_of
from rpcb_trio._commands._settings._shared import ConnectionSettings

ROOT = Path(__file__).parent.parent
WORKERS = ["asr", "se", "own", "gpu"]
FILE = "/etc/password"
SERVICES = [*WORKERS, "gateway"]


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if shutil.which(command[0]) is None:
        pytest.fail(
            "docker-compose is needed: install it (on Debian, as root: apt-get install docker-compose)"
        )
    environment = {**os.environ, "COMPOSE_PROFILES": "gpu,own", **variables}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def described_with(**variables: str) -> dict[str, Any]:
    """The services as docker-compose reads them."""
    read: dict[str, Any] = yaml.safe_load(_config(tuple(variables.items())))
    return read


@cache
def _config(variables: tuple[tuple[str, str], ...]) -> str:
    return compose("config", **dict(variables)).stdout


def test_docker_compose_accepts_the_file() -> None:
    checked = compose("config", "--quiet")
    assert checked.returncode == 0, checked.stderr


def test_the_worker_waits_for_a_healthy_broker() -> None:
    described = described_with()["services"]
    assert described["asr"]["depends_on"] == {"rabbitmq": {"condition": "service_healthy"}}
    assert "rabbitmq-diagnostics" in described["rabbitmq"]["healthcheck"]["test"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("password", ["p/w@:#?%", "100%25 \N{SNOWMAN}", "'\"$"])
def test_a_password_may_have_any_characters(password: str, service: str, tmp_path: Path) -> None:
    described = described_with(RABBITMQ_PASSWORD_FILE=FILE, RABBITMQ_USER="u/x")
    [secret] = described["services"][service]["secrets"]
    assert described["secrets"][secret["source"]]["file"] == FILE
    environment = described["services"][service]["environment"]
    assert environment["RPCB_PASSWORD_FILE"] == f"/run/secrets/{secret['source']}"
    (tmp_path / "password").write_text(f"{password}\n")
    settings = ConnectionSettings(
        url=environment["RPCB_URL"],
        user=environment["RPCB_USER"],
        password_file=str(tmp_path / "password"),
    )
    url = url_of(settings)
    parts = urlsplit(url if isinstance(url, str) else url())
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == ("u/x", password)
    assert (parts.hostname, parts.port, parts.path) == ("rabbitmq", 5672, "/")


def test_the_broker_s_password_is_the_same_file_and_no_variable_of_the_description() -> None:
    broker = described_with()["services"]["rabbitmq"]
    assert broker["secrets"] == [{"source": "rabbitmq-password"}]
    assert "cat /run/secrets/rabbitmq-password" in broker["entrypoint"][-1]
    assert broker["environment"].keys() == {"RABBITMQ_DEFAULT_USER"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_right_a_read_only_root_and_a_bound_of_its_memory(service: str) -> None:
    described = described_with()["services"][service]
    assert described["read_only"]
    assert described["tmpfs"] == ["/tmp"]  # noqa: S108 - of the container
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["mem_limit"]
    assert described["pids_limit"]


@pytest.mark.parametrize("service", WORKERS)
def test_workers_share_a_journal_and_have_time_to_drain(service: str) -> None:
    described = described_with()["services"][service]
    assert "journal:/var/lib/rpcb-trio:rw" in described["volumes"]
    assert described["stop_grace_period"] == "40s"


def test_a_service_of_one_s_own_comes_from_a_folder_that_is_named() -> None:
    given = {"SERVICES": "/srv/mine", "RPCB_TARGET": "model:Model", "RPCB_QUEUE": "model"}
    for name in ("own", "gpu"):
        described = described_with(**given)["services"][name]
        assert "/srv/mine:/srv:ro" in described["volumes"]
        assert described["environment"]["RPCB_TARGET"] == "model:Model"
        assert described["environment"]["RPCB_QUEUE"] == "model"
        assert described["command"] == ["serve"]


def test_a_gateway_is_there_for_this_machine_alone_and_its_health_is_asked_for_where_it_serves() -> None:
    gateway = described_with()["services"]["gateway"]
    assert gateway["command"][:3] == ["gateway", "--config", "rpcb_models:gateway.toml"]
    assert gateway["build"]["args"] == {"EXTRAS": "gateway"}
    assert gateway["environment"]["RPCB_HEALTH_PORT"] == "8083"
    assert "127.0.0.1" in str(gateway["ports"])


def test_workers_and_gateway_share_their_events() -> None:
    services = described_with()["services"]
    for name in SERVICES:
        assert services[name]["environment"]["RPCB_EVENTS"] == "rpcb.events"
