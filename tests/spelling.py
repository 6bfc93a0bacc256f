"""A service that streams: the letters of texts, all texts of a batch in step."""

from __future__ import annotations

from collections.abc import Collection, Generator

from rpcb_trio import Outcome, Success
from rpcb_trio.streaming import END, End, Step


class Spelling:
    """Yields a letter of each text in each step. `!` fails its item alone, `*` the whole batch."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        """The numbers of those that were left."""
        self.steps = 0
        self.runs: list[list[str]] = []

    def decode(self, body: bytes) -> str:
        return body.decode()

    def stream_infer(self, items: list[str]) -> Generator[Step[str], Collection[int], None]:
        self.runs.append(items)
        live = dict(enumerate(items))
        for place in range(1 + max(map(len, items))):
            step = {number: _at(place, text) for number, text in live.items()}
            if "*" in step.values():
                raise ValueError("a letter that spoils all")
            gone = yield step
            self.gone += gone
            self.steps += 1
            live = {
                number: text
                for number, text in live.items()
                if isinstance(step[number], str) and number not in gone
            }

    def encode(self, outcome: Outcome[str]) -> bytes:
        return (
            outcome.value.encode()
            if isinstance(outcome, Success)
            else f"failed:{outcome.error.code}".encode()
        )


def _at(place: int, text: str) -> str | Exception | End:
    if place == len(text):
        return END
    return ValueError("a bad letter") if text[place] == "!" else text[place]
