"""A Prometheus of a test's own, which scrapes what the test serves."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio
import yaml

from tests.rabbitmq import free_ports

REMEDY = "Prometheus is needed: install it (on Debian, as root: apt-get install prometheus)"
PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""
EVERY = "1s"
"""How often it scrapes, and how long a scrape may take; what a failed one left out is stale."""
POLL = 0.05
"""Seconds between two questions; nothing tells when it has scraped."""

Series = tuple[Mapping[str, str], float]


class Prometheus:
    """One that runs."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def query(self, expression: str) -> list[Series]:
        """The series that an expression has at this moment, with their labels."""
        answer = await self._http.get(f"/api/v1/query?query={quote(expression)}")
        found = answer.json()
        assert found["status"] == "success", found
        assert found["data"]["resultType"] == "vector"
        return [(each["metric"], float(each["value"][1])) for each in found["data"]["result"]]

    async def rules(self) -> list[Mapping[str, Any]]:
        """All rules, each with its health after its last evaluation, and an alert's state."""
        answer = await self._http.get("/api/v1/rules")
        return [rule for group in answer.json()["data"]["groups"] for rule in group["rules"]]

    async def until(self, expression: str, *, holds: Callable[[list[Series]], bool] = bool) -> list[Series]:
        """Ask again and again until the series are as they should be; any will do by default."""
        found: list[Series] = []
        with trio.move_on_after(PATIENCE):
            while True:
                found = await self.query(expression)
                if holds(found):
                    return found
                await trio.sleep(POLL)
        pytest.fail(f"{expression} is {found}")


@asynccontextmanager
async def scraping(folder: Path, *, rules: Path | None = None, **targets: str) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes each target (`host:port`, by its job's name).

    Args:
        folder: for its data and its log.
        rules: a file of rules, which it evaluates as often.
        targets: what it scrapes.
    """
    program = shutil.which("prometheus") or pytest.fail(REMEDY)
    [port] = free_ports(1)
    jobs: list[dict[str, Any]] = [
        {"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in targets.items()
    ]
    settings: dict[str, Any] = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), EVERY),
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": jobs,
    }
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(settings))
    arguments = [
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with trio.open_nursery() as nursery, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        with log.open("w") as stderr:
            nursery.start_soon(partial(trio.run_process, [program, *arguments], stderr=stderr))
            await _until_ready(http)
        yield Prometheus(http)
        nursery.cancel_scope.cancel()


async def _until_ready(http: httpx.AsyncClient) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                if (await http.get("/-/ready")).is_success:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            await trio.sleep(POLL)
