"""The token that a wish to reload over HTTP must bear."""

from __future__ import annotations

from rpcb_trio._commands._settings._broker import value_in_file
from rpcb_trio._commands._settings._shared import ControlSettings
from rpcb_trio.errors import SettingError


def token_of(settings: ControlSettings) -> str | None:
    """The token, as the file holds it now; None where none is set.

    Raises:
        SettingError: it is set in two places, or empty, or can't be read.
    """
    name, token = "control_token", settings.control_token
    if settings.control_token_file is not None:
        if token is not None:
            raise SettingError("control_token and control_token_file are both set; leave one of them out")
        name = "control_token_file"
        token = value_in_file(name, settings.control_token_file)
    if token is None:
        return None
    token = token.strip()
    if not token:
        raise SettingError(f"{name} is empty, so anybody could reload; set a token, or leave it out")
    if not (token.isascii() and token.isprintable()):
        raise SettingError(f"{name} has characters that HTTP does not carry; use printable ASCII")
    return token
