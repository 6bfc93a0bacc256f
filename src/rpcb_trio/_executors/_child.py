"""The executor's process from within: it makes the service, warms it up, and computes what it is sent."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from rpcb_trio._errors import InferError
from rpcb_trio._executors._model import Model
from rpcb_trio._executors._parcel import beside, receive, send
from rpcb_trio._service import bind

PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Serve the worker at the other end of a socket until it hangs up or dies."""
    _die_with(parent)
    for each in (signal.SIGINT, signal.SIGTERM):  # a group's signal is the worker's to obey
        signal.signal(each, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as worker, suppress(EOFError, ConnectionError):
        sys.path[:], make, device = receive(worker)
        model: Model | None = None

        def prepare() -> None:
            nonlocal model
            model = Model(bind(pickle.loads(make)()), device)  # noqa: S301 - our own worker made it
            model.prepare()

        if _answer(worker, prepare):
            assert model is not None  # noqa: S101 - for the type checker
            while True:
                items = receive(worker)
                _answer(worker, partial(_infer, model, items))
                del items


def _answer(worker: socket.socket, compute: Callable[[], Any]) -> bool:
    """Send what `compute` returns or raises; whether it returned."""
    failure: Exception | None = None
    results: Any = None
    try:
        results = compute()
    except Exception as error:  # noqa: BLE001 - what the model raises is for the worker to judge
        failure = _portable(error)
    try:
        send(worker, (results, failure))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - user code pickles its results
        send(worker, (None, InferError(f"the results can't be sent: {type(error).__name__}: {error}")))
    return failure is None


def _infer(model: Model, items: list[Any]) -> Any:
    results = model.infer(items)
    return beside(results) if isinstance(results, (list, tuple)) else results


def _portable(error: Exception) -> Exception:
    """The error itself if it survives the way, else its text in one of ours; its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    with suppress(Exception):  # user code pickles it
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301 - we made it
            return error
    return InferError(f"infer failed: {type(error).__name__}: {error}")


def _die_with(parent: int) -> None:
    """Have the kernel end this process with the worker, whatever it is at.

    Elsewhere than on Linux the worker's end is noticed at the socket, between two batches.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
