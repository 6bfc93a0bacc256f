"""What type checkers know of the public API. mypy itself reads `api.py` along with all other code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def pyright(*arguments: str) -> dict[str, Any]:
    """Run pyright with this interpreter's packages; it takes those of the first `python` on the path."""
    bin_of_python = Path(sys.executable).parent
    ended = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *arguments],
        env=os.environ
        | {"PATH": f"{bin_of_python}:{os.environ['PATH']}", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def test_pyright_accepts_the_public_api_as_it_is_used() -> None:
    report = pyright("api.py")
    assert report["summary"]["filesAnalyzed"] == 1
    assert report["generalDiagnostics"] == []


def test_the_type_of_every_public_name_is_known() -> None:
    completeness = pyright("--verifytypes", "rpcb_trio", "--ignoreexternal")["typeCompleteness"]
    assert len(completeness["modules"]) > 10
    unknown = [
        (symbol["name"], diagnostic["message"])
        for symbol in completeness["symbols"]
        for diagnostic in symbol["diagnostics"]
        if diagnostic["severity"] == "error"  # a docstring of private code that is not there is a warning
    ]
    assert unknown == []
    assert completeness["completenessScore"] == 1
