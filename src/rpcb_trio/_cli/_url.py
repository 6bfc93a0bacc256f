"""The broker's URL: given, or in a file that is read whenever it is needed; and how it may be shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from rpcb_trio._cli._shared_settings import DEFAULT_URL, ConnectionSettings
from rpcb_trio._errors import SettingError


def url_of(settings: ConnectionSettings) -> str | Callable[[], str]:
    """The URL, or who reads it from its file.

    Raises:
        SettingError: both are set.
    """
    if settings.url_file is None:
        return settings.url
    if settings.url != DEFAULT_URL:
        raise SettingError("url and url_file are both set; leave one of them out")
    return partial(_read, settings.url_file)


def shown_url(settings: ConnectionSettings) -> str:
    """The broker as it may be logged."""
    return without_password(settings.url) if settings.url_file is None else f"url_file {settings.url_file}"


def without_password(url: str) -> str:
    """The URL as it may be logged.

    Raises:
        SettingError: it is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # What it says may hold the password.
        raise SettingError("url can't be read; write it as amqp://user:password@host:5672/vhost") from None
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    return parts._replace(netloc=f"{user}{colon and ':***'}{at}{place}").geturl()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingError(f"url_file {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingError(f"url_file {path} is not UTF-8; write the URL into it, and nothing else") from None
