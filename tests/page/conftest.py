"""One browser, and one gateway, for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rpcb_trio.gateway import GatewayOptions
from tests.page.browser import Chromium
from tests.page.browser import chromium as running_chromium
from tests.page.gateways import Fake, ancestor_routes, enhanced, listening, recognised

TEA = {
    "sort": {"choices": ["black", "green"], "default": "green"},
    "cups": "integer",
    "litres": {"type": "number", "optional": True},
    "milk": {"type": "boolean", "default": False, "help": "Before the tea"},
}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    with running_chromium() as running:
        yield running


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """The URL of a gateway with the ancestor's routes, and some more."""
    routes = ancestor_routes()
    routes["broken"] = {"queue": "broken", "summary": "Always fails", "form": {"text": "text"}}
    routes["nobody"] = {"queue": "nobody", "summary": "Nobody there", "form": {"count": "integer"}}
    routes["order"] = {"queue": "echo", "summary": "Order tea", "body": "json", "form": TEA}
    services = {
        "asr": Fake(recognised),
        "se": Fake(enhanced),
        "broken": Fake(lambda _: 1 / 0),
        "echo": lambda bodies: bodies,
    }
    with listening(routes, services, GatewayOptions(rpc=("echo",), max_upload=400_000)) as url:
        yield url
