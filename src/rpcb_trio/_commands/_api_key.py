"""The command `api-key`."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from rpcb_trio._gateway import hash_of, new_key, read_keys
from rpcb_trio.errors import SettingError


def api_key(name: Annotated[str, Parameter(help="Of the caller: routes and logs name it.")], /) -> None:
    """Make an API key for a caller of the gateway, and print it with its line for api_key_file."""
    key = new_key()
    line = f"{name}={hash_of(key)}"
    if "=" in name:
        raise SettingError(f"NAME is {name!r}; give the name alone, and its hash is printed")
    read_keys([line])
    sys.stdout.write(f"key, for the caller alone: {key}\nline for api_key_file:     {line}\n")
