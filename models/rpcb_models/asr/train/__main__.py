"""The way into the command, and out of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from rpcb_trio import SettingError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a wrong setting is one line on stderr, and 2."""
    try:
        from rpcb_models.asr.train.command import app  # noqa: PLC0415 (it imports torch, an extra)

        app(argv, print_error=False, exit_on_error=False, result_action="return_value")
    except ModuleNotFoundError as missing:
        return _refused(f"training needs {missing.name}: pip install 'rpcb-trio[train]'")
    except CycloptsError as error:
        return _refused(f"{error} See --help.")
    except SettingError as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def _refused(line: str) -> int:
    sys.stderr.write(f"{line}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
