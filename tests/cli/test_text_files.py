"""A file of settings, and one that holds the URL, as editors, shells and secret stores write them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from rpcb_trio import SettingError
from rpcb_trio._commands._app import parse
from rpcb_trio._commands._settings._broker import url_of
from rpcb_trio._commands._settings._file import read_file
from rpcb_trio._commands._settings._shared import ConnectionSettings
from rpcb_trio._commands._settings._text import read_text
from tests.cli.conftest import Ended

Run = Callable[..., Ended]

TOML = '# für alle\nqueue = "asr"\r\nmax_batch_size = 8\n'
URL = "amqp://u:p%2F@h/"

ENCODED = {
    "plain": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little end first": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    "CRLF": lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n").encode(),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read_url(file: Path) -> str:
    read = url_of(ConnectionSettings(url_file=str(file)))
    assert callable(read)
    return read()


@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
def test_a_file_of_settings_is_read_as_its_byte_order_mark_says(
    encode: Callable[[str], bytes], file: Path
) -> None:
    file.write_bytes(encode(TOML))
    assert read_file(file).top == {"queue": "asr", "max_batch_size": 8}


@pytest.mark.parametrize("form", ["{}", "{}\n", "{}\r\n\r\n", " {}\t", '"{}"\n', "'{}'"], ids=ascii)
@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
def test_the_url_is_what_its_file_holds_without_what_was_left_around_it(
    encode: Callable[[str], bytes], form: str, file: Path
) -> None:
    file.write_bytes(encode(form.format(URL)))
    assert read_url(file) == URL


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'""', "it is empty"),
        (f"{URL}\n{URL}\n".encode(), "it holds 2 lines"),
        (f"RPCB_URL={URL}\n".encode(), "it holds an assignment"),
        (f'export URL="{URL}"\n'.encode(), "it holds an assignment"),
        (f'url = "{URL}"\n'.encode(), "it holds an assignment"),
        (URL.encode("utf-16-le"), "UTF-16"),
        (b"amqp://u:\xe9@h/", "it is not UTF-8"),
    ],
)
def test_what_is_no_url_alone_is_told_without_what_it_holds(data: bytes, reason: str, file: Path) -> None:
    file.write_bytes(data)
    with pytest.raises(SettingError) as caught:
        read_url(file)
    line = str(caught.value)
    assert line.startswith(f"url_file {file}: ")
    assert reason in line
    assert "u:p" not in line


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (TOML.encode("latin-1"), ["it is not UTF-8", "line 1"]),
        (TOML.encode("utf-16-le"), ["UTF-16", "save it as UTF-8"]),
        (codecs.BOM_UTF16_LE + b"x", ["it is not UTF-16"]),
        (b"queue = \x80", ["line 1"]),
        (b"a = " + b"[" * 10_000, ["nested"]),
    ],
    ids=range(5),
)
def test_a_file_of_settings_that_is_no_text_is_told_with_the_remedy(
    data: bytes, parts: list[str], run_command: Run, workplace: Path
) -> None:
    (workplace / "rpcb.toml").write_bytes(data)
    ended = run_command("serve", "m:a")
    assert ended.code == 2
    for part in ["rpcb.toml", *parts]:
        assert part in ended.line


def login(**settings: str) -> str:
    url = url_of(ConnectionSettings(**settings))  # type: ignore[arg-type] # all are text
    return url if isinstance(url, str) else url()


@pytest.mark.parametrize("password", ["p/w", "p@w:#?%", "p w", "ä\U0001f511", '"q"', "100%25"])
def test_a_password_beside_the_url_may_have_any_characters(password: str) -> None:
    parts = urlsplit(login(url="amqp://rpcb@rabbitmq:5672/v", password=password))
    assert (parts.username, unquote(parts.password or "")) == ("rpcb", password)
    assert (parts.hostname, parts.port, parts.path) == ("rabbitmq", 5672, "/v")


@pytest.mark.parametrize(
    "url", [' "amqp://u:p@h/v"\n', "\ufeffamqp://u:p@h/v", "amqp://u:p@h/v\r\n"], ids=ascii
)
def test_what_is_left_around_a_url_of_a_flag_or_a_key_is_not_part_of_it(url: str) -> None:
    assert login(url=url) == "amqp://u:p@h/v"


def test_user_and_password_may_both_stand_beside_it(file: Path) -> None:
    file.write_text("p/w\n")
    assert login(url="amqp://h", user="u/x", password_file=str(file)) == "amqp://u%2Fx:p%2Fw@h"
    assert login(user="u", password="p") == "amqp://u:p@localhost:5672/"  # noqa: S106 - of a test


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "amqp://u:p@h", "password": "q"},
        {"url": "amqp://u@h", "user": "v"},
        {"password": "q", "password_file": "f"},
    ],
)
def test_what_is_set_twice_is_refused_without_being_shown(settings: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="leave one of them out") as caught:
        login(**settings)
    assert "q" not in str(caught.value)


def test_spaces_and_quotes_of_a_password_are_its_own(
    monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    monkeypatch.setenv("RPCB_PASSWORD", ' "p" \r\n')
    _, bound = parse(["serve", "m:a"])
    assert bound.arguments["settings"].password == ' "p" '  # noqa: S105 - of a test


@pytest.mark.parametrize("flags", [["--pasword=hunter2"], ["--password-fil", "hunter2"]])
def test_no_misspelt_flag_shows_a_password(flags: list[str], run_command: Run) -> None:
    assert "hunter2" not in run_command("serve", "m:a", *flags).err


@pytest.mark.parametrize("name", ["/dev/zero", "sparse"])
def test_a_file_that_never_ends_is_refused_before_it_fills_the_memory(name: str, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(SettingError, match="it has more than 1048576 bytes"):
        read_text(tmp_path / name)
