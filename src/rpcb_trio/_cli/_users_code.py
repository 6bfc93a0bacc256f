"""Which code is the user's own, so that a line names the place where it can be mended."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from rpcb_trio._shown import shown

LONGEST = 300

_LIBRARIES = tuple(
    f"{sysconfig.get_path(each)}{os.sep}" for each in ("stdlib", "platstdlib", "purelib", "platlib")
)
_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


def is_of_a_library(file: str) -> bool:
    """Whether a file of code is Python's own, an installed package's, or this package's."""
    return file.startswith((*_LIBRARIES, _PACKAGE, "<frozen"))


def told(error: BaseException) -> str:
    """An error of the user's code in one line: what it is, what it says, and where in that code it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not is_of_a_library(each.filename)] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    return f"{type(error).__name__}: {shown(_text(error), LONGEST)} ({place})"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 - it is the user's code that raises here
        return f"its text can't be shown: __str__ raised {type(failure).__name__}"
