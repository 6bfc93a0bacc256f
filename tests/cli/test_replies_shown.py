"""How commands print replies: for people on a terminal, and anywhere else to the last byte."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import Reply
from rpcb_trio._commands._replies import print_reply
from rpcb_trio._messages import ERROR_HEADER, REASON_HEADER
from tests.scenarios import steady

ANY = "application/octet-stream"
pack = msgspec.msgpack.encode


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(body: bytes, content_type: str = ANY, **headers: str) -> str:
    """What a terminal without colours gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "dumb")
        patch.setattr(sys, "stdout", Terminal())
        names = {"error": ERROR_HEADER, "reason": REASON_HEADER}
        print_reply(
            Reply(
                body=body,
                content_type=content_type,
                headers={names[name]: value for name, value in headers.items()},
            )
        )
        assert isinstance(sys.stdout, Terminal)
        return sys.stdout.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"HELLO", ANY, "HELLO\n"),
        (b"two\nlines\n", "text/plain", "two\nlines\n"),
        (b'{"a":[1,2.50],"b":1e30}', ANY, '{\n  "a": [\n    1,\n    2.50\n  ],\n  "b": 1e30\n}\n'),
        (b'"x"', "application/problem+json; charset=utf-8", '"x"\n'),
        (b"{no json", ANY, "{no json\n"),
        (b"12", ANY, "12\n"),
        (pack({"a": b"123", 1: ["x"]}), ANY, '{\n  "a": "<3 bytes>",\n  "1": [\n    "x"\n  ]\n}\n'),
        (pack(7), "application/msgpack", "7\n"),
        (pack(7), ANY, "\x07".encode("unicode_escape").decode() + "\n"),
        (b"RIFF\xff" * 2469, "audio/wav", "12,345 bytes of audio/wav; --output FILE keeps them\n"),
        (b"\xff\xfe", ANY, "2 bytes; --output FILE keeps them\n"),
        (b"\xc1", "application/msgpack", "1 bytes of application/msgpack; --output FILE keeps them\n"),
        (b"a\x1b[2Jb", "text/plain", "a\\x1b[2Jb\n"),
        (b"", ANY, "\n"),
    ],
)
def test_a_terminal_shows_people_what_a_reply_holds_and_takes_no_command_from_it(
    body: bytes, content_type: str, text: str
) -> None:
    assert shown(body, content_type) == text


def test_what_a_line_on_stderr_says_too_is_not_said_twice_and_what_the_service_says_is_shown() -> None:
    assert shown(b"request: not this", error="request", reason="not this") == ""
    assert shown(b'{"status":400}', error="request", reason="not this") == '{\n  "status": 400\n}\n'
    assert shown(b"request: not this") == "request: not this\n"


def test_json_is_coloured_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", Terminal())
    print_reply(Reply(body=b'{"a":1}'))
    assert isinstance(sys.stdout, Terminal)
    assert "\x1b[" in sys.stdout.getvalue()


@steady
@given(
    st.binary(max_size=40), st.sampled_from([ANY, "application/json", "application/msgpack", "text/plain"])
)
def test_whatever_a_reply_holds_a_terminal_gets_no_control_character(body: bytes, content_type: str) -> None:
    text = shown(body, content_type).replace("\n", "").replace("\t", "")
    assert all(" " <= each <= "~" or each > "\x9f" for each in text)


def test_anywhere_else_the_bytes_are_the_reply_s(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for body in (b"\xff\x00\x1b[2J", pack({"a": 1}), b'{"a":1}', b""):
        print_reply(Reply(body=body))
        assert capfdbinary.readouterr().out == body
        print_reply(Reply(body=body), tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == body
        assert capfdbinary.readouterr().out == b""
