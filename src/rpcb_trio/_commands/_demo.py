"""The command `demo`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from cyclopts import App, Parameter

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands.serve._target import find_modules_here, load_attribute
from rpcb_trio._errors import SettingError

TARGET = "rpcb_models.demo:main"


def demo(*options: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Transcribe real speech in batches, with an embedded broker (in a checkout of the project)."""
    find_modules_here()
    if find_spec("rpcb_models") is None:
        raise SettingError(
            f"{TARGET}: there is no package rpcb_models here; run demo in a checkout of the project"
        )
    app = App(name="rpcb-trio demo", help_format="plaintext", version_flags=(), result_action="return_value")
    app.default(load_attribute(TARGET))
    app(options, print_error=False, exit_on_error=False)
    return ExitCode.DONE
