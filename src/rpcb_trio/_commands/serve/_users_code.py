"""An error of the user's own code, so that a line names the place where it can be mended."""

from __future__ import annotations

import traceback
from pathlib import Path

from rpcb_trio._guard import is_of_a_library, text_of, type_name
from rpcb_trio._shown import shown

LONGEST = 300


def told(error: BaseException) -> str:
    """An error of the user's code in one line: what it is, what it says, and where in that code it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not is_of_a_library(each.filename)] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    return f"{type_name(error)}: {shown(text_of(error), LONGEST)} ({place})"
