"""`POST /v1/audio/transcriptions`, as OpenAI's clients send it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._gateway._endpoints import Endpoints, unless_hung_up
from rpcb_trio._gateway._faces._captions import as_json, as_srt, as_text, as_verbose_json, as_vtt
from rpcb_trio._gateway._faces._openai import invalid, model_of
from rpcb_trio._gateway._faces._transcript_frames import TranscriptFrames
from rpcb_trio._gateway._faces._transcripts import Transcript, transcript_of
from rpcb_trio._gateway._forms import JSON, MULTIPART, truth_in
from rpcb_trio._gateway._multipart import Multipart
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import reply_headers
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._uploads import Upload

TEXT = "text/plain; charset=utf-8"

FORMATS: Mapping[str, tuple[Callable[[Transcript], bytes], str]] = {
    "json": (as_json, JSON),
    "text": (as_text, TEXT),
    "srt": (as_srt, TEXT),
    "verbose_json": (as_verbose_json, JSON),
    "vtt": (as_vtt, TEXT),
}
"""By `response_format`: what makes the body, and its media type."""

PLAIN = ("json", "text")
TIMED = ("srt", "verbose_json", "vtt")
"""Formats that have no time stamps, and those that have."""

SUFFIX = re.compile(r"\.([A-Za-z0-9]{1,16})\Z")
"""How a file's name tells its format."""

LONGEST_VALUE = 40
"""Characters of a value that an error quotes."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asks for."""

    audio: bytes
    filename: str
    model: str
    format: str
    language: str
    is_streamed: bool


async def transcriptions(endpoints: Endpoints, routes: Routes, request: Request, upload: Upload) -> Response:
    """Answer a request for what is said in a recording; the arguments are as those of `embeddings`.

    Raises:
        Problem: there is no answer.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        why = f"send the recording in a form, as {MULTIPART}"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", why)
    asked = await upload.multipart(asked_in)
    route = model_of(routes, asked.model)
    endpoints.admit(request, upload, route)
    body = body_of(route, asked)
    if asked.is_streamed:
        frames = TranscriptFrames(route)
        return await endpoints.stream(route, body, request, frames, content_type=route.content_type)
    dispatcher, headers = endpoints.dispatcher, endpoints.travelling(request)
    with dispatcher.place():
        answer, reply = await unless_hung_up(request, partial(dispatcher.ask_with, route, body, headers))
    transcript = transcript_of(answer, audio=asked.audio, language=asked.language)
    write, media_type = FORMATS[asked.format]
    return Response(write(transcript), media_type=media_type, headers=reply_headers(reply))


def asked_in(form: Multipart) -> Asked:
    """What a form asks for.

    Raises:
        Problem: 400, it lacks something, or asks for what there is not.
    """
    texts: dict[str, list[str]] = {}
    audio: bytes | None = None
    filename = ""
    for part in form.parts:
        if not part.is_file:
            texts.setdefault(part.name.removesuffix("[]"), []).append(form.text_of(part))
        elif part.name == "file" and audio is None:
            audio, filename = b"".join(part.pieces), part.filename
            part.pieces.clear()
    if audio is None:
        raise invalid("file", "it is missing; send the recording as a file of that name")
    _refuse_unserved(texts)
    response_format = _one(texts, "response_format", "json")
    if response_format not in FORMATS:
        raise invalid(
            "response_format", f"{response_format[:LONGEST_VALUE]!r} is none of {', '.join(FORMATS)}"
        )
    is_streamed = _truth(texts, "stream")
    if is_streamed and response_format not in PLAIN:
        raise invalid("response_format", f"with stream it is {' or '.join(PLAIN)}")
    return Asked(
        audio=audio,
        filename=filename,
        model=_one(texts, "model"),
        format=response_format,
        language=_one(texts, "language", ""),
        is_streamed=is_streamed,
    )


def body_of(route: Route, asked: Asked) -> bytes:
    """The body of the message: the file as it is, or a map that has it."""
    if route.body_coding == "bytes":
        return asked.audio
    whole: dict[str, object] = {"audio": asked.audio}
    if found := SUFFIX.search(asked.filename):
        whole["format"] = found[1].lower()
    if asked.language:
        whole["language"] = asked.language
    if asked.format in TIMED:
        whole["timestamps"] = True
    return msgspec.json.encode(whole) if route.body_coding == "json" else msgspec.msgpack.encode(whole)


def _refuse_unserved(texts: Mapping[str, Sequence[str]]) -> None:
    """Refuse what would be missing from the answer; other parameters are hints, and ignored."""
    if "word" in texts.get("timestamp_granularities", ()):
        raise invalid("timestamp_granularities", "there are none of words; ask for those of segments")
    if texts.get("include"):
        raise invalid("include", "there is nothing to be included; leave it out")


def _one(texts: Mapping[str, Sequence[str]], name: str, default: str | None = None) -> str:
    values = texts.get(name) or ([] if default is None else [default])
    if not values:
        raise invalid(name, "it is missing")
    try:
        values[0].encode()  # a form's charset may leave lone surrogates in it, which UTF-8 can't carry
    except UnicodeEncodeError:
        raise invalid(name, "it is no text") from None
    return values[0]


def _truth(texts: Mapping[str, Sequence[str]], name: str) -> bool:
    try:
        return truth_in(_one(texts, name, "false"))
    except ValueError as error:
        raise invalid(name, str(error)) from None
