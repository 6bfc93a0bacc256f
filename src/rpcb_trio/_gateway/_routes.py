"""What a route is: from a form over a body to a reply, and from that to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Coding = Literal["bytes", "msgpack", "json"]
CONTENT_TYPES: dict[Coding, str] = {
    "bytes": "application/octet-stream",
    "msgpack": "application/msgpack",
    "json": "application/json",
}
Plain = str | int | float | bool
Preset = Literal["openai-transcriptions", "openai-embeddings", "open-inference"]


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of a form."""

    type: Literal["file", "text", "integer", "number", "boolean"] = "text"
    default: Plain | None = None
    """Its value where it is not sent; a field without one must be."""
    optional: bool = False
    """Whether it may be left out, of the body too."""
    choices: tuple[str, ...] = ()
    """All that a text may be; empty for anything."""
    help: str = ""
    accept: str = ""
    """Which files it takes, as HTML's `accept` says it: `audio/*`. The page goes by it."""
    sample: str = ""
    """What the page offers to try: of a file `PACKAGE:FILE`, else the text itself."""

    @property
    def is_required(self) -> bool:
        """Whether a form without it is wrong."""
        return self.default is None and not self.optional


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a reply says whether its request failed."""

    field: str
    """Its name; dots lead into maps."""
    ok: tuple[int | str | bool, ...] = (200,)
    """What it holds after a success."""
    http: Mapping[str, int] = {}
    """The HTTP status for what else it holds; by default 500, or what the reply's `rpcb-error` says."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of a composite route: another route, with its form filled in here."""

    route: str
    fields: Mapping[str, str] = {}
    """From its form's fields to ours, or to `PART.FIELD`, a field of another part's answer. A part starts
    when those it takes from are answered; others run side by side. Fields of the same name need no entry."""
    constants: Mapping[str, Plain] = {}
    """Its form's fields that never differ."""

    def feeders(self, names: Mapping[str, object]) -> set[str]:
        """Which of these parts it takes from."""
        return {source.partition(".")[0] for source in self.fields.values()} & set(names)


class Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input or output of a route that speaks the Open Inference Protocol."""

    datatype: str = ""
    """As that protocol has them: FP32, INT64, BOOL, BYTES, ...; by default any, of any shape."""
    shape: tuple[int, ...] = ()
    """Of one row, without the first dimension, which counts the rows; -1 for any."""
    text: bool = True
    """Of BYTES: whether the service takes text; else bytes."""

    @property
    def is_any(self) -> bool:
        """Whether it has each datatype and each shape."""
        return not self.datatype

    def fits(self, row: tuple[int, ...]) -> bool:
        """Whether a row may have this shape."""
        if self.is_any:
            return True
        pairs = zip(self.shape, row, strict=False)
        return len(row) == len(self.shape) and all(each in (-1, got) for each, got in pairs)


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One path of the gateway, and the service behind it."""

    path: str = ""
    """By default `/NAME`."""
    method: Literal["POST", "PUT"] = "POST"
    summary: str = ""
    form: Mapping[str, Field] = {}
    """The fields of its form, in the order they have in the body. Without a form the request's body is the
    service's."""
    queue: str | None = None
    exchange: str = ""
    routing_key: str | None = None
    timeout: float | None = None
    """Seconds; it travels with the request as its expiration."""
    priority: int | None = None
    auth: tuple[str, ...] | None = None
    """Which callers it is for: names of API keys, or subjects of tokens; `*` in one stands for anything. None
    for all that the gateway lets in."""
    body: Coding | None = None
    """`msgpack` or `json` of a map of the form's fields, or the `bytes` of its only one; by default msgpack
    for a form."""
    constants: Mapping[str, Plain] = {}
    """What else the body's map holds."""
    reply: Coding | None = None
    """The coding in which the reply is read; by default that of the body. `bytes` go through as they are."""
    answer: str | None = None
    """The field of the reply that is the answer; without it all of it is."""
    status: Status | None = None
    urls: Mapping[str, str] = {}
    """From a field of the answer that holds bytes, to the new field for the URL where they can be fetched."""
    media_type: str = "application/octet-stream"
    """Of those."""
    base64: bool = True
    """Whether fields with a URL are in the answer as well, in base64."""
    envelope: str = ""
    """`MODULE:ATTRIBUTE` of an `Envelope` that holds answers and failures; without one the answer comes as it
    is, and a failure as a problem (RFC 9457)."""
    page: str = ""
    """`PACKAGE:FILE.js` of an ES module that extends the page for this route; see docs/how-to/gateway.md."""
    parts: Mapping[str, Part] = {}
    """The calls of a composite route; its answer has one field for each."""
    preset: Preset | None = None
    """A known API that the route speaks, on that API's paths; the route's name is the model's."""
    inputs: Mapping[str, Tensor] = {}
    """Of `open-inference`: the tensors that it takes. By default they follow from the annotations of a
    service in this process; of another service they may be any, and the service judges."""
    outputs: Mapping[str, Tensor] = {}
    """Of `open-inference`: the tensors that it answers with; by default they follow from the replies."""

    @property
    def body_coding(self) -> Coding:
        """The coding in which the body is written."""
        return self.body or ("msgpack" if self.form or self.preset else "bytes")

    @property
    def content_type(self) -> str:
        """The content type of a body that the gateway makes; typed services go by it."""
        return CONTENT_TYPES[self.body_coding]

    @property
    def reply_coding(self) -> Coding:
        """The coding in which the reply is read."""
        return self.reply or self.body_coding


Routes = Mapping[str, Route]
"""By name."""
