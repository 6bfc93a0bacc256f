"""The executor's process itself: it makes the service, warms it up, and computes what it is sent."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import partial
from typing import Any

from rpcb_trio._executors._ipc import IpcError, out_of_band, receive, send, send_error
from rpcb_trio._executors._model import Model
from rpcb_trio._forks import close_in_children
from rpcb_trio._messages import Failure
from rpcb_trio._parts import Happened
from rpcb_trio._service import bind_again
from rpcb_trio._tracing import spans
from rpcb_trio.errors import InferError, OutcomeError, RpcbError

PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Serve the worker at the other end of a socket until that is closed."""
    try:
        _serve(descriptor, parent)
    except (EOFError, ConnectionError):
        pass
    except OSError as error:  # the model has closed it, or put another file in its place
        sys.exit(f"the executor's process has lost its socket to the worker: {error.strerror}")


def _serve(descriptor: int, parent: int) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a group's signal is the worker's to obey
        signal.signal(each, signal.SIG_IGN)
    _die_with(parent)
    with socket.socket(fileno=descriptor) as worker:
        close_in_children(worker)
        sys.path[:], make, device = receive(worker)
        model: Model | None = None

        def prepare() -> None:
            nonlocal model
            model = Model(bind_again(pickle.loads(make)()), device)  # noqa: S301 - our own worker made it
            model.prepare()

        if _answer(worker, prepare):
            assert model is not None  # noqa: S101 - for the type checker
            while True:
                try:
                    message = receive(worker)
                except IpcError as error:
                    _send(worker, None, InferError(f"the items can't be taken there: {error}"))
                    continue
                if message is None:  # the end of a stream that has ended already
                    _send(worker, None, None)
                    continue
                items, span, *whole = message
                with _below(span):
                    if whole:
                        _stream(worker, model, items, whole[0])
                    else:
                        _answer(worker, partial(_infer, model, items))
                del message, items


def _below(span: Mapping[str, object] | None) -> AbstractContextManager[None]:
    """Have the model's own spans go below the worker's `infer`, where both processes have OpenTelemetry."""
    opentelemetry = spans()
    return nullcontext() if span is None or opentelemetry is None else opentelemetry.continuing(span)


def _answer(worker: socket.socket, compute: Callable[[], Any]) -> bool:
    """Send what `compute` returns or raises; whether it returned, and that could be sent."""
    failure: Exception | None = None
    results: Any = None
    try:
        results = compute()
    except RpcbError as error:
        failure = _portable(error)
    if worker.fileno() < 0:  # the model forked, and this is the child, which has returned from it
        os._exit(0)
    return _send(worker, results, failure) and failure is None


def _send(worker: socket.socket, results: Any, failure: Exception | None) -> bool:
    try:
        send(worker, (results, failure))
    except IpcError as error:
        try:
            send(worker, (None, InferError(f"the results can't be sent: {error}")))
        except IpcError as last:
            send_error(worker, last.__cause__)
        return False
    return True


def _stream(worker: socket.socket, model: Model, items: list[Any], whole: Collection[int]) -> None:
    """Send step after step, each when the worker asks for it, and None after the last one."""
    steps = model.stream(items, whole)
    gone: Collection[int] | None = None
    step: Happened | None = None

    def compute() -> Happened | None:
        nonlocal step
        try:
            step = next(steps) if gone is None else steps.send(gone)
        except StopIteration:
            step = None
        return step

    with closing(steps):
        while _answer(worker, compute) and step is not None:
            try:
                gone = receive(worker)
            except IpcError as error:
                _send(worker, None, InferError(f"the stream can't be continued: {error}"))
                return
            if gone is None:
                steps.close()
                _send(worker, None, None)
                return


def _infer(model: Model, items: list[Any]) -> Any:
    outcomes = model.infer(items)
    for each in outcomes:
        if type(each) is Failure:
            _portable(each.error)
    return out_of_band(outcomes)


def _portable(error: RpcbError) -> RpcbError:
    """An error of ours, without the service's own that it stands for where that can't be pickled."""
    if isinstance(error, OutcomeError) and error.own is not None:
        try:
            is_portable = type(pickle.loads(pickle.dumps(error.own))) is type(error.own)  # noqa: S301 - we made it
        except BaseException:  # noqa: BLE001 - the service's code pickles it
            is_portable = False
        if not is_portable:
            error.own = None
    return error


def _die_with(parent: int) -> None:
    """End with the worker, whatever this process is doing, together with all that it has forked.

    On other systems than Linux the worker's end is noticed at the socket, between two batches.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError, AttributeError):  # an old system, or a Python that was built on one
            _watch(os.pidfd_open(parent))
    if os.getppid() != parent:
        os._exit(1)


def _watch(worker: int) -> None:
    """Fork a process that ends this one's group when the worker has died.

    What leaves the group, for a session of its own, is not ended. The watcher is no child of this process, so
    that a model that waits for its children does not wait for it.
    """
    between = os.fork()
    if between:
        os.close(worker)
        os.waitpid(between, 0)
    elif os.fork():
        os._exit(0)
    else:
        os.closerange(0, worker)
        os.closerange(worker + 1, os.sysconf("SC_OPEN_MAX"))
        death = select.poll()
        death.register(worker, select.POLLIN)
        death.poll()
        os.killpg(0, signal.SIGKILL)
