"""Nothing that comes from outside is ever unpickled, evaluated or loaded as more than plain data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PRIVATE_PIPE = ROOT / "src" / "rpcb_trio" / "_executors"
"""Speaks pickle over a pipe between a worker and the process that it has started."""

SOURCES = sorted(
    path
    for folder in ("src", "models", "benches")
    for path in (ROOT / folder).rglob("*.py")
    if PRIVATE_PIPE not in path.parents
)

RUNNING_CODE = {
    *(f"{module}.{name}" for module in ("pickle", "_pickle", "dill", "cloudpickle", "marshal", "joblib")
      for name in ("load", "loads", "Unpickler")),
    "shelve.open", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec",
}  # fmt: skip

SAFE_BY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def unsafe(source: str) -> Iterator[str]:
    """Each call, and each import under another name, that may run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from ({f"{node.module}.{alias.name}" for alias in node.names} & (RUNNING_CODE | {*SAFE_BY}))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in RUNNING_CODE or (called in SAFE_BY and not is_safe(node, *SAFE_BY[called])):
                yield called


def is_safe(call: ast.Call, keyword: str, value: bool) -> bool:  # noqa: FBT001 - a value that code may pass
    given = {each.arg: each.value for each in call.keywords}
    by = given.get(keyword)
    return isinstance(by, ast.Constant) and by.value is value


def test_no_source_may_run_what_it_reads() -> None:
    found = {str(path.relative_to(ROOT)): list(unsafe(path.read_text())) for path in SOURCES}
    assert len(found) > 100
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle\npickle.loads(x)", ["pickle.loads"]),
        ("from pickle import loads", ["pickle.loads"]),
        ("torch.load(x)", ["torch.load"]),
        ("torch.load(x, weights_only=False)", ["torch.load"]),
        ("torch.load(x, weights_only=True)", []),
        ("np.load(x)", ["np.load"]),
        ("yaml.safe_load(x)", []),
        ("def f(): return eval(x)", ["eval"]),
    ],
)
def test_what_would_run_it_is_found(source: str, found: list[str]) -> None:
    assert list(unsafe(source)) == found
