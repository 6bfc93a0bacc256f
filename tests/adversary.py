"""A service that misbehaves in whichever hook a request's body names, in whichever way it names."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from rpcb_trio import Failure, RequestError, ServiceError, Success
from rpcb_trio.errors import OutcomeError, OutOfMemory

HOOKS = ("decode", "cost", "infer", "encode")
HUGE = 200_000


def _raise(error: BaseException) -> NoReturn:
    raise error


class Liar:
    """Raises at every touch that is left to its class."""

    def _refuse(self, *_: object) -> NoReturn:
        raise SystemExit("touched")

    __str__ = __repr__ = __len__ = __iter__ = __bool__ = __getitem__ = __float__ = __bytes__ = _refuse
    __eq__ = __hash__ = __lt__ = __format__ = __copy__ = __deepcopy__ = __reduce_ex__ = _refuse
    __class__ = property(_refuse)

    def __getattr__(self, name: str) -> NoReturn:
        raise KeyboardInterrupt(name)


class Impostor(Liar):
    """Says that it is bytes."""

    __class__ = property(lambda _: bytes)


class CrookedBytes(bytes):
    """Bytes that can't be counted, copied or compared."""

    __len__ = __iter__ = __eq__ = __hash__ = __bytes__ = __getitem__ = Liar._refuse


class CrookedText(str):
    """Text that can't be counted, sliced or shown."""

    __slots__ = ()
    __len__ = __str__ = __getitem__ = __format__ = encode = splitlines = Liar._refuse  # type: ignore[assignment] # that is the misdeed


class Unshowable(Exception):
    """An error that has no text."""

    __str__ = __repr__ = Liar._refuse

    def __getattribute__(self, name: str) -> NoReturn:
        raise SystemExit(name)


class TextThatIsNoText(Exception):
    """An error whose text is a `str` that misbehaves."""

    def __str__(self) -> str:
        return CrookedText("crooked")


class EvilRequestError(RequestError):
    """An error of this package's kind, with a code, a kind and a text of its own."""

    code = property(Liar._refuse)
    kind = CrookedText("service")  # type: ignore[assignment] # that is the misdeed
    __str__ = Liar._refuse


class BadCode(ServiceError):
    """Its code is no word that a header bears."""

    code = "line\nfeed" * HUGE


class Forged(RequestError):
    """It pretends that it has been judged."""

    where = CrookedText("nowhere")


class OddKind(type):
    """Classes that can't be looked up."""

    __eq__ = __hash__ = Liar._refuse


class OddClass(RequestError, metaclass=OddKind):
    """An error of such a class."""


class Table:
    """As a data frame: as long as its rows, and yields its columns."""

    def __init__(self, rows: int, columns: int = 51) -> None:
        self._rows = rows
        self.columns = [f"column {number}" for number in range(columns)]

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: object) -> object:
        return key

    def __iter__(self) -> Iterator[object]:
        return iter(self.columns)


class Endless:
    """A sequence that says it is short and never ends."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: object) -> object:
        return key


def _forged() -> NoReturn:
    error = RequestError(Unshowable())
    error.where = "somewhere"
    error.frames = Liar()  # type: ignore[assignment] # that is the misdeed
    raise error


def _odd_number() -> NoReturn:
    error = OSError("its number is no number")
    error.errno = Liar()  # type: ignore[assignment] # that is the misdeed
    raise error


def _twisted() -> NoReturn:
    raise OutOfMemory(CrookedText("no room")) from Unshowable()


def _released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


WAYS: dict[str, Callable[[], Any]] = {
    "value-error": lambda: _raise(ValueError("no")),
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "generator-exit": lambda: _raise(GeneratorExit()),
    "stop-iteration": lambda: _raise(StopIteration()),
    "group": lambda: _raise(BaseExceptionGroup("several", [SystemExit(1), ValueError("x")])),
    "memory": lambda: _raise(MemoryError("none left")),
    "recursion": lambda: _raise(RecursionError()),
    "unshowable": lambda: _raise(Unshowable()),
    "no-text": lambda: _raise(TextThatIsNoText()),
    "evil-request-error": lambda: _raise(EvilRequestError(Liar())),
    "bad-code": lambda: _raise(BadCode("x")),
    "forged": lambda: _raise(Forged("x")),
    "forged-plain": _forged,
    "odd-number": _odd_number,
    "odd-class": lambda: _raise(OddClass("x")),
    "twisted": _twisted,
    "huge-text": lambda: _raise(ValueError("x" * HUGE)),
    "huge-request-error": lambda: _raise(RequestError("\x1b[2J\n" * HUGE)),
    "surrogates": lambda: _raise(RequestError("\ud800 \udcff")),
    "outcome-error": lambda: _raise(OutcomeError()),
    "none": lambda: None,
    "liar": Liar,
    "impostor": Impostor,
    "crooked-bytes": lambda: CrookedBytes(b"crooked"),
    "crooked-text": lambda: CrookedText("crooked"),
    "not-a-number": lambda: float("nan"),
    "an-error": Unshowable,
    "a-failure": lambda: Failure(EvilRequestError(Liar())),
    "a-plain-failure": lambda: Failure(RequestError(Liar())),
    "a-success": lambda: Success(Liar()),
    "released": _released,
    "thread": lambda: threading.Thread(target=os.getpid).start(),
    "no-descriptor": lambda: os.close(os.open(os.devnull, os.O_RDONLY)),
}
"""What a hook does with a request, or returns for it."""

WHOLE: dict[str, Callable[[int], Any]] = {
    "table": Table,
    "square-table": lambda count: Table(count, count),
    "endless": lambda _: Endless(),
    "dictionary": lambda count: {number: number for number in range(count)},
    "text": lambda count: "x" * count,
    "too-few": lambda count: [b""] * (count - 1),
    "too-many": lambda count: [b""] * (count + 1),
    "generator": lambda count: (b"" for _ in range(count)),
    "nothing": lambda _: None,
    "liar": lambda _: Liar(),
}
"""What `infer` returns for a whole batch that holds such a request."""


DEADLY: dict[str, Callable[[], Any]] = {
    "leave-at-once": lambda: os._exit(3),
    "be-killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "close-all": lambda: os.closerange(3, 256),
    "fork": os.fork,
    "fork-and-die": lambda: os.fork() and os._exit(4),
    "deaf": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)),
    "elsewhere": lambda: os.chdir("/"),
    "no-streams": lambda: os.closerange(0, 3),
}
"""What `infer` does to the process that it runs in; for executors that have one of their own."""


class Adversary:
    """Bodies are `HOOK WAY NUMBER`; those of the hook `none` are good."""

    def decode(self, body: bytes) -> Any:
        item = body.decode()
        return self._in("decode", item, item)

    def cost(self, item: Any) -> Any:
        return self._in("cost", item, 1.0)

    def infer(self, items: list[Any]) -> Any:
        for item in items:
            hook, way, _ = parts(item)
            if hook == "whole":
                return WHOLE[way](len(items))
        return [self._in("infer", item, item) for item in items]

    def encode(self, outcome: Any) -> Any:
        if type(outcome) is Failure:
            return b"failed"
        return self._in("encode", outcome.value, f"ok {parts(outcome.value)[2]}".encode())

    def _in(self, hook: str, item: Any, otherwise: Any) -> Any:
        at, way, _ = parts(item)
        return (WAYS | DEADLY)[way]() if at == hook else otherwise


def parts(item: Any) -> list[str]:
    """Hook, way and number; of what another hook has made of it, nothing."""
    return item.split(" ") if type(item) is str else ["none", "none", "?"]
