"""`try` runs a service on some requests as one batch, without a broker, and prints what callers would get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]

SERVICES = """
import json
import time

import msgspec

from rpcb_trio import Failure, RequestError, Success
from rpcb_trio.streaming import by_item

def shout(bodies):
    return [body.upper() for body in bodies]

def weigh(item):
    raise ValueError("no weights")

class Sums:
    content_type = "application/json"
    def __init__(self, bias=0):
        self.bias = bias
    def decode(self, body):
        values = json.loads(body)
        if not values:
            raise RequestError("no values")
        return values
    def infer(self, items):
        return [weigh(item) if item == [13] else sum(item) + self.bias for item in items]
    def encode(self, outcome):
        if isinstance(outcome, Failure):
            return json.dumps({"error": outcome.error.code}).encode()
        return json.dumps(outcome.value).encode()

class Lengths:
    decode = staticmethod(msgspec.msgpack.decode)
    def infer(self, items):
        return [{name: len(value) for name, value in item.items()} for item in items]
    def encode(self, outcome):
        return msgspec.msgpack.encode(outcome.value)

class Text(msgspec.Struct):
    text: str

def measure(texts: list[Text]) -> list[int]:
    return [len(each.text) for each in texts]

def spell(bodies):
    yield from by_item([bytes([each]) for each in body] for body in bodies)

class Cold:
    def warm_up(self):
        raise OSError("no file")
    decode = infer = encode = lambda self, it: it
"""


@pytest.fixture
def try_(run_command: Run, workplace: Path) -> Run:
    (workplace / "services.py").write_text(SERVICES)

    def run(target: str, *argv: str) -> Ended:
        return run_command("try", f"services:{target}", *argv)

    return run


def test_a_text_goes_in_and_the_reply_comes_out_and_what_it_took_is_told_apart(try_: Run) -> None:
    ended = try_("shout", "--text", "hello")
    assert (ended.code, ended.out) == (0, "HELLO")
    assert ended.line.startswith("warm-up ")
    assert "for a batch of 1" in ended.line


def test_several_requests_of_several_kinds_are_one_batch_and_answered_in_order(
    try_: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "one.json").write_text("[1]")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(read=lambda: b"[2]")))
    ended = try_("Sums", "one.json", "-", "--json=[3]", "--json=@one.json", "--option=bias=10")
    assert (ended.code, ended.out.split()) == (0, ["11", "12", "13", "11"])
    *labels, times = ended.err.splitlines()
    assert labels == ["one.json:", "stdin:", "[3]:", "@one.json:"]
    assert "for a batch of 4" in times
    assert "decode " in times
    assert "encode " in times


def test_fields_make_a_map_and_a_packed_reply_is_shown_as_json(try_: Run) -> None:
    ended = try_("Lengths", "--field", "a=xyz", "--field", "b=@services.py")
    assert json.loads(ended.out) == {"a": 3, "b": len(SERVICES)}


def test_an_error_reply_has_a_code_of_its_own_and_the_place_in_the_service_and_spoils_no_other(
    try_: Run,
) -> None:
    ended = try_("Sums", "--json=[13]", "--json=[1]", "--json=[]")
    assert ended.code == 7
    assert ended.out.splitlines() == ['{"error": "infer"}', "1", '{"error": "request"}']
    assert "error reply (infer): infer failed: ValueError: no weights (services.py:14 in weigh)" in ended.err
    assert 'services.py", line 14, in weigh' in ended.err
    assert "error reply (request): no values" in ended.err
    assert ended.err.count("in weigh\n") == 1, "one that the service refuses needs no frames"


def test_a_typed_service_reads_json_and_fields_and_says_what_is_wrong_with_a_request(try_: Run) -> None:
    assert try_("measure", "--json", '{"text": "hello"}').out == "5"
    assert try_("measure", "--field", "text=hello").out == "5\n"
    ended = try_("measure", "--json", '{"text": 5}')
    assert ended.code == 7
    assert json.loads(ended.out)["error"]["path"] == "$.text"


def test_a_reply_in_parts_is_printed_as_it_comes_and_those_to_several_requests_as_a_whole(
    try_: Run, workplace: Path
) -> None:
    assert try_("spell", "--text=abc").out == "a\nb\nc\n"
    assert try_("spell", "--text=abc", "--text=de").out == "abc\nde\n"
    assert try_("spell", "--text=abc", "--output=out").code == 0
    assert (workplace / "out").read_bytes() == b"abc"


def test_the_body_of_the_reply_goes_into_a_file_as_it_is(try_: Run, workplace: Path) -> None:
    ended = try_("Lengths", "--json=@packed", "--output=out")
    assert ended.code == 2
    (workplace / "packed.msgpack").write_bytes(msgspec.msgpack.encode({"a": "bc"}))
    ended = try_("Lengths", "packed.msgpack", "--output=out")
    assert (ended.code, ended.out) == (0, "")
    assert msgspec.msgpack.decode((workplace / "out").read_bytes()) == {"a": 2}


@pytest.mark.parametrize(
    ("argv", "code", "part"),
    [
        (["shout"], 2, "there is no request; give FILE, --text, --json or --field"),
        (["shout", "nowhere"], 2, "FILE: nowhere can't be read"),
        (["shout", "--feild", "text=a"], 2, "there is no option --feild; did you mean --field?"),
        (["Sums", "--json={a"], 2, "--json: it is no JSON"),
        (["shout", "--text=a", "--text=b", "--output=out"], 2, "--output is for one reply"),
        (["nothing", "--text=a"], 2, "no attribute nothing"),
        (["Cold", "--text=a"], 16, "warm_up failed: OSError: no file (services.py:"),
    ],
    ids=["nothing", "no file", "no option", "no JSON", "several", "no target", "cold"],
)
def test_what_can_not_be_tried_is_one_line_with_the_remedy(
    argv: list[str], code: int, part: str, try_: Run
) -> None:
    ended = try_(*argv)
    assert ended.code == code
    assert part in ended.line
