"""The package's public names: each has one home, which tracebacks, reprs and pickles name."""

from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import subprocess
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeVar, get_type_hints

import pytest

import rpcb_trio
from rpcb_trio import RemoteError, Reply, Request, RequestError, Success, Topology
from rpcb_trio.errors import DrainTimeout, ExecutorHung, InferError, RpcbError

T = TypeVar("T")

FRONTS = ["rpcb_trio"] + [
    f"rpcb_trio.{each.name}" for each in pkgutil.iter_modules(rpcb_trio.__path__) if each.name[0] != "_"
]


def exported() -> list[tuple[str, str, object]]:
    modules = [importlib.import_module(front) for front in FRONTS]
    return [(each.__name__, name, getattr(each, name)) for each in modules for name in each.__all__]


def path(each: type | FunctionType) -> str:
    return f"{each.__module__}.{each.__qualname__}"


def test_every_public_class_and_function_is_at_home_in_a_public_module_that_exports_it() -> None:
    found = exported()
    paths = {f"{front}.{name}" for front, name, _ in found}
    named = [each for _, _, each in found if isinstance(each, (type, FunctionType))]
    assert len(named) > 100
    assert {path(each) for each in named} <= paths
    for each in named:
        assert getattr(sys.modules[each.__module__], each.__qualname__) is each


def test_the_annotations_of_public_classes_can_be_resolved_from_anywhere() -> None:
    for _, _, each in exported():
        if isinstance(each, type):
            get_type_hints(each)


@pytest.mark.parametrize(
    "front", [each for each in FRONTS if each.split(".")[-1] not in {"errors", "testing", "gateway"}]
)
def test_a_public_front_re_exports_and_does_little_else(front: str) -> None:
    module = importlib.import_module(front)
    assert isinstance(module, ModuleType)
    assert module.__file__ is not None
    docstring, *rest = ast.parse(Path(module.__file__).read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert not any(isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for each in rest)


class OfAService(RequestError):
    """An error of a user's own, whose constructor takes more than a text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def test_a_repr_and_a_traceback_show_the_public_path_of_an_error() -> None:
    assert repr(InferError) == "<class 'rpcb_trio.errors.InferError'>"
    assert repr(rpcb_trio.RpcClient) == "<class 'rpcb_trio.RpcClient'>"
    last = traceback.format_exception_only(InferError("it failed"))
    assert last == ["rpcb_trio.errors.InferError: it failed\n"]


def through_a_pickle(value: T) -> T:
    copy = pickle.loads(pickle.dumps(value))  # noqa: S301 - made on the line
    assert isinstance(copy, type(value))
    return copy


def test_messages_come_out_of_a_pickle_as_they_went_in() -> None:
    for message in (Reply(body=b"yes", headers={"lang": "en"}), Success(3), Topology(queue="q")):
        assert through_a_pickle(message) == message
    request = through_a_pickle(Request(body=b"hello", arrived=1.5, reply_to="r"))
    assert (request.body, request.arrived, request.reply_to) == (b"hello", 1.5, "r")


@pytest.mark.parametrize(
    "error",
    [
        InferError("it failed"),
        DrainTimeout(1.5, 3),
        ExecutorHung(600),
        RemoteError(Reply(body=b"no", headers={"rpcb-error": "infer"})),
        OfAService(422, "no such language"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_out_of_a_pickle_as_it_went_in(error: RpcbError) -> None:
    copy = through_a_pickle(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_the_package_knows_its_version_and_does_not_look_it_up_until_asked() -> None:
    assert rpcb_trio.__version__ == version("rpcb-trio")
    with pytest.raises(AttributeError, match="module 'rpcb_trio' has no attribute 'nonsense'"):
        _ = rpcb_trio.nonsense  # type: ignore[attr-defined] # that is the point
    program = "import sys, rpcb_trio; raise SystemExit('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
