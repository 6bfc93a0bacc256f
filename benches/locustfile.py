"""Load on the gateway by Locust, as rabbit-rpc-batch had it: each user posts recordings, one after the other.

locust -f benches/locustfile.py --host http://127.0.0.1:8083 --headless --users 10 --spawn-rate 10 -t 20s

With `--rpc NAME` they post a short text to /rpc/NAME instead, and await it back: an echo.
"""

from __future__ import annotations

import itertools
from argparse import ArgumentParser
from http import HTTPStatus
from pathlib import Path

from locust import HttpUser, events, task
from locust.clients import ResponseContextManager

TEXT = b"hello"
CLIPS = itertools.cycle(
    sorted((Path(__file__).parent.parent / "models/rpcb_models/recordings").glob("*.wav"))
)
"""By their place: Locust imports this file as a module of its own folder."""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--rpc", metavar="NAME", default="", help="Post to /rpc/NAME, an echo, not to /asr.")


events.init_command_line_parser.add_listener(_add_options)  # type: ignore[no-untyped-call] # locust is typed in part


class Speaker(HttpUser):
    """Sends the next request when it has the answer to its last."""

    @task
    def ask(self) -> None:
        """Post a recording and read what was said, or a text that comes back."""
        name = self.environment.parsed_options.rpc
        if name:
            self._echo(f"/rpc/{name}")
        else:
            self._recognise()

    def _recognise(self) -> None:
        clip = next(CLIPS)
        files = {"audio": (clip.name, clip.read_bytes(), "audio/wav")}
        form = {"format": "wav"}
        with self.client.post("/asr", files=files, data=form, catch_response=True) as response:
            if (
                _is_ok(response) and response.json()["status"] != HTTPStatus.OK
            ):  # its own, in the ancestor's JSON
                response.failure(response.text)

    def _echo(self, path: str) -> None:
        with self.client.post(path, data=TEXT, catch_response=True) as response:
            if _is_ok(response) and response.content != TEXT:
                response.failure(f"another's answer: {response.text}")


def _is_ok(response: ResponseContextManager) -> bool:
    """Whether the HTTP status is; Locust itself counts the others as failures."""
    return response.status_code == HTTPStatus.OK
