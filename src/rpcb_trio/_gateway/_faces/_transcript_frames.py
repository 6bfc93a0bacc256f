"""A transcript that is sent as it is heard: the events that OpenAI's clients read."""

from __future__ import annotations

import msgspec

from rpcb_trio._gateway._faces._openai import described
from rpcb_trio._gateway._faces._transcripts import transcript_of
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import read_answer
from rpcb_trio._gateway._routes import Route
from rpcb_trio._gateway._server_sent import COMMENT, event_of
from rpcb_trio._messages import Reply

DELTA = "delta"
"""The field of a part that goes on where the text before it ends; other parts are whole words."""


class TranscriptFrames:
    """The events of one transcript, for `Endpoints.stream`; the last one has all of the text."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._text = ""

    async def part(self, part: Reply) -> bytes:
        """What was heard since the part before it."""
        answer = read_answer(self._route, part, is_strict=True)
        if isinstance(answer, dict) and isinstance(answer.get(DELTA), str):
            delta: str = answer[DELTA]
        else:
            words = transcript_of(answer, audio=b"", language="").text.strip()
            delta = f" {words}" if self._text and words else words
        if not delta:
            return COMMENT
        self._text += delta
        return _event({"type": "transcript.text.delta", "delta": delta})

    def end(self) -> bytes:
        """All that was heard."""
        return _event({"type": "transcript.text.done", "text": self._text})

    def failure(self, problem: Problem) -> bytes:
        """Why nothing more was heard."""
        return _event({"error": described(problem)})


def _event(data: object) -> bytes:
    return event_of(msgspec.json.encode(data))
