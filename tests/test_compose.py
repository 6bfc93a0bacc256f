"""The containers are described as docker-compose accepts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from rpcb_trio._commands._settings._broker import url_of
from rpcb_trio._commands._settings._shared import ConnectionSettings

ROOT = Path(__file__).parent.parent


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if shutil.which(command[0]) is None:
        pytest.fail(
            "docker-compose is needed: install it (on Debian, as root: apt-get install docker-compose)"
        )
    environment = {**os.environ, "COMPOSE_PROFILES": "gpu", **variables}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_docker_compose_accepts_the_file() -> None:
    checked = compose("config", "--quiet")
    assert checked.returncode == 0, checked.stderr


def test_the_worker_waits_for_a_healthy_broker() -> None:
    described = compose("config")
    assert "condition: service_healthy" in described.stdout
    assert "rabbitmq-diagnostics" in described.stdout


@pytest.mark.parametrize("service", ["asr", "se", "gateway", "gpu"])
@pytest.mark.parametrize("password", ["p/w@:#?%", "100%25 \N{SNOWMAN}", "'\"$"])
def test_a_password_may_have_any_characters(password: str, service: str) -> None:
    described = compose("config", RABBITMQ_PASSWORD=password, RABBITMQ_USER="u/x")
    environment = yaml.safe_load(described.stdout)["services"][service]["environment"]
    environment = {name: value.replace("$$", "$") for name, value in environment.items()}
    settings = ConnectionSettings(
        url=environment["RPCB_URL"], user=environment["RPCB_USER"], password=environment["RPCB_PASSWORD"]
    )
    url = url_of(settings)
    assert isinstance(url, str)
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == ("u/x", password)
    assert (parts.hostname, parts.port, parts.path) == ("rabbitmq", 5672, "/")


def test_a_gateway_is_there_for_this_machine_alone_and_its_health_is_asked_for_where_it_serves() -> None:
    gateway = yaml.safe_load(compose("config").stdout)["services"]["gateway"]
    assert gateway["command"][:3] == ["gateway", "--config", "models/rpcb_models/gateway.toml"]
    assert gateway["build"]["args"] == {"EXTRAS": "gateway"}
    assert gateway["environment"]["RPCB_HEALTH_PORT"] == "8083"
    assert "127.0.0.1" in str(gateway["ports"])


def test_the_image_answers_probes_from_outside_and_asks_for_its_own_health() -> None:
    described = (ROOT / "Dockerfile").read_text()
    assert "RPCB_HEALTH_HOST=0.0.0.0 RPCB_HEALTH_PORT=8080" in described
    [asked] = [line for line in described.splitlines() if line.strip().startswith('CMD [".venv')]
    assert json.loads(asked.strip().removeprefix("CMD ")) == [".venv/bin/python", "-m", "rpcb_trio", "health"]


def test_the_image_is_made_by_the_makefile() -> None:
    assert "RUN make install" in (ROOT / "Dockerfile").read_text()
    entry = next(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT")
    )
    command = json.loads(entry.removeprefix("ENTRYPOINT "))
    assert command[-3:] == [".venv/bin/python", "-m", "rpcb_trio"]


def test_the_image_s_user_is_a_number_that_is_not_root() -> None:
    [user] = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert int(user) > 0


def test_workers_and_gateway_share_their_events() -> None:
    services = yaml.safe_load(compose("config").stdout)["services"]
    for name in ("asr", "se", "gateway", "gpu"):
        assert services[name]["environment"]["RPCB_EVENTS"] == "rpcb.events"


def test_the_first_process_of_the_image_is_an_init_so_that_no_ended_process_is_left() -> None:
    described = (ROOT / "Dockerfile").read_text()
    assert "apt-get install -y --no-install-recommends make tini" in described
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", ' in described
