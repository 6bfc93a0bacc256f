"""The token that a wish to reload over HTTP must bear."""

from __future__ import annotations

from rpcb_trio._commands._settings._broker import value_in_file
from rpcb_trio._commands._settings._shared import ControlSettings
from rpcb_trio.errors import SettingError


def token_of(settings: ControlSettings) -> str | None:
    """The token, as the file holds it now; None where none is set.

    Raises:
        SettingError: it is set in two places, or can't be read.
    """
    if settings.control_token_file is None:
        return settings.control_token
    if settings.control_token is not None:
        raise SettingError("control_token and control_token_file are both set; leave one of them out")
    return value_in_file("control_token_file", settings.control_token_file).strip()
