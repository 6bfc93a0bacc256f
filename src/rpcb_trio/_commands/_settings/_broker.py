"""The way to the broker: its URL, given or in a file that is read for each connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from rpcb_trio._commands._settings._shared import DEFAULT_URL, ConnectionSettings
from rpcb_trio._commands._settings._text import bare, text_in
from rpcb_trio._shown import without_passwords
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from rpcb_trio.amqp import AmqpTransport

WHAT = {
    "url_file": "the URL",
    "password_file": "the password",
    "control_token_file": "the token",
    "jobs_secret_file": "the secret",
}
"""What each of the files holds."""

ASSIGNMENT = re.compile(r"(export\s+)?\w+\s*=")


def transport(settings: ConnectionSettings, *, name: str | None = None) -> AmqpTransport:
    """The way to the broker.

    Raises:
        SettingError: the URL is wrong.
    """
    from rpcb_trio.amqp import AmqpTransport  # noqa: PLC0415 - --help need not wait for aiormq

    return AmqpTransport(
        url_of(settings), heartbeat=settings.heartbeat, connect_timeout=settings.connect_timeout, name=name
    )


def url_of(settings: ConnectionSettings) -> str | Callable[[], str]:
    """The URL, or a function that makes it of what its files hold.

    Raises:
        SettingError: what belongs to one place is set in two.
    """
    if settings.url_file is not None and settings.url != DEFAULT_URL:
        raise SettingError("url and url_file are both set; leave one of them out")
    if settings.password_file is not None and settings.password is not None:
        raise SettingError("password and password_file are both set; leave one of them out")
    if settings.url_file is None and settings.password_file is None:
        return _with_login(settings)
    return partial(_with_login, settings)


def shown_url(settings: ConnectionSettings) -> str:
    """The broker as it may be logged."""
    return (
        without_passwords(bare(settings.url))
        if settings.url_file is None
        else f"url_file {settings.url_file}"
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # The error's text may hold the password.
        raise SettingError("url can't be read; write it as amqp://user:password@host:5672/vhost") from None


def _with_login(settings: ConnectionSettings) -> str:
    """The URL with the user and the password that are set beside it, whatever characters these have."""
    url = bare(settings.url) if settings.url_file is None else value_in_file("url_file", settings.url_file)
    password = settings.password
    if settings.password_file is not None:
        password = value_in_file("password_file", settings.password_file)
    if settings.user is None and password is None:
        return url
    parts = _split(url)
    login, _, place = parts.netloc.rpartition("@")
    if url == DEFAULT_URL:
        login = ""
    user, colon, _ = login.partition(":")
    if settings.user is not None and user:
        raise SettingError("user is set, and the URL names one too; leave one of them out")
    if password is not None and colon:
        raise SettingError("password is set, and the URL has one too; leave one of them out")
    user = user if settings.user is None else quote(settings.user, safe="")
    secret = "" if password is None else f":{quote(password, safe='')}"
    return parts._replace(netloc=f"{user or 'guest'}{secret}@{place}").geturl()


def value_in_file(setting: str, path: str) -> str:
    """The one value that a file holds.

    Raises:
        SettingError: it can't be read, or holds something else; the error does not show it.
    """
    return text_in(setting, path, partial(_alone, setting))


def _alone(setting: str, text: str) -> str:
    """The one value that a file holds; an error does not show it, for it may be a password."""
    value = bare(text) if setting == "url_file" else text.strip("\r\n")
    what = WHAT[setting]
    if not value:
        raise SettingError(f"it is empty; write {what} into it")
    if (lines := len(value.splitlines())) > 1:
        raise SettingError(f"it holds {lines} lines; write {what} into it, and nothing else")
    if setting == "url_file" and ASSIGNMENT.match(value):
        raise SettingError(f"it holds an assignment; write {what} alone into it, without a name and =")
    return value
