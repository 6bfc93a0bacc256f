"""Turns whatever a service's code raises or returns into values of our own.

A user's object may misbehave whenever it is touched: its `__str__` raises, its `__iter__` never ends, its
`__class__` lies. So it is touched only here, in the thread that ran the hook and within that hook's timeout,
and what goes wrong is a failure of that hook. The rest of the package gets bounded text, exact `bytes`, exact
floats, and results that it does not look into.
"""

from __future__ import annotations

import errno
import math
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from types import CodeType, TracebackType
from typing import Any, NamedTuple, TypeGuard

import trio

from rpcb_trio import errors
from rpcb_trio._messages import Failure, Outcome, Success
from rpcb_trio._shown import LONGEST_TEXT, shortened, shown
from rpcb_trio.errors import (
    CostError,
    DecodeError,
    EncodeError,
    InferError,
    OutcomeError,
    ServiceError,
    SettingError,
    WarmUpFailed,
    WrongResultCount,
)

MOST_FRAMES = 8
"""Frames of the service's own code that are kept of a traceback: the innermost."""
MOST_VALUES = 100
"""Of a result that can't be encoded: how many are looked at for the reason."""
LONGEST_CODE = 64
"""Characters of an error's code; a longer one is ignored."""

NO_INPUTS_FAULT = (NameError, ImportError, NotImplementedError)
"""Errors of `decode` that are the service's fault, whatever the body."""

SHORTAGES = (errno.EAGAIN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EROFS)
"""Errors of a system that lacks something or is broken; no body is the cause."""
NO_THREAD = "can't start new thread"
"""Python's text where the system has no more threads."""

KINDS = ("request", "service", "busy")

_HERE = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - compared with the names in code objects
_LIBRARIES = (
    *(
        os.path.join(sysconfig.get_path(each), "")  # noqa: PTH118 - likewise
        for each in ("stdlib", "platstdlib", "purelib", "platlib")
    ),
    "<frozen",
)

# Each reads what CPython keeps in the object, without a look-up that the object's class could intercept.
_kept = BaseException.__dict__
_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_names_in: Callable[[type], Mapping[str, object]] = type.__dict__["__dict__"].__get__
_name_of_type: Callable[[type], str] = type.__dict__["__name__"].__get__
traceback_of: Callable[[BaseException], TracebackType | None] = _kept["__traceback__"].__get__
cause_of: Callable[[BaseException], BaseException | None] = _kept["__cause__"].__get__
context_of: Callable[[BaseException], BaseException | None] = _kept["__context__"].__get__

_attributes_of: Callable[[BaseException], dict[str, object]] = _kept["__dict__"].__get__
_errno_of: Callable[[BaseException], object] = OSError.__dict__["errno"].__get__


def forget_traceback(error: BaseException) -> None:
    """Drop an error's traceback, and with it the frames that it refers to."""
    _kept["__traceback__"].__set__(error, None)


class _Frame(NamedTuple):
    code: CodeType
    line: int


def run_infer(infer: Callable[[list[Any]], Sequence[Any]], items: list[Any]) -> list[Outcome[Any]]:
    """Call a service's `infer`; returns one outcome for each item.

    Raises:
        OutcomeError: it raised, or its results are not one for each item.
    """
    try:
        return outcomes_of(infer(items), len(items))
    except BaseException as error:
        raise judge_infer(error) from error


async def await_infer(infer: Callable[[list[Any]], Any], items: list[Any]) -> list[Outcome[Any]]:
    """As `run_infer`, for an `infer` that is async.

    Raises:
        OutcomeError: it raised, or its results are not one for each item.
        Cancelled: it was cancelled; whatever else its tasks raised then is dropped.
    """
    try:
        return outcomes_of(await infer(items), len(items))
    except trio.Cancelled:
        raise
    except BaseException as error:
        cancelled = error.subgroup(trio.Cancelled) if isinstance(error, BaseExceptionGroup) else None
        if cancelled is not None:
            raise cancelled from None
        raise judge_infer(error) from error


def outcomes_of(results: Any, expected: int) -> list[Outcome[Any]]:
    """The outcomes in what `infer` returned: a list, a tuple, an array, a tensor, one result for each item.

    Raises:
        WrongResultCount: it is none of these, or its length is not `expected`.
        BaseException: whatever the object raises when it is looked at.
    """
    is_listing = hasattr(results, "__len__") and hasattr(results, "__getitem__")
    if not is_listing or isinstance(results, (bytes, bytearray, str, Mapping)):
        raise WrongResultCount(f"infer must return one result for each item, not {type_name(results)}")
    if hasattr(results, "columns"):  # its length is that of its rows, and it yields its columns
        raise WrongResultCount(
            f"infer must return one result for each item, not a table ({type_name(results)}); return its rows"
        )
    length = len(results)
    listed = list(islice(results, expected + 1))
    if length != expected or len(listed) != expected:
        if length == expected:
            raise WrongResultCount(
                f"infer returned a {type_name(results)}, which yields another number of items"
            )
        raise WrongResultCount(f"infer returned {length} result(s) for {expected} item(s)")
    return [outcome_of(each) for each in listed]


def outcome_of(result: Any) -> Outcome[Any]:
    """What `infer` returned for one item."""
    kind = type(result)
    if kind is Success:
        outcome: Outcome[Any] = result
        return outcome
    error = result.error if kind is Failure else result
    return Failure(judge_infer(error)) if issubclass(type(error), BaseException) else Success(result)


@contextmanager
def warming_up(service: str, hook: str) -> Iterator[None]:
    """Run a hook that makes a service ready.

    Raises:
        SettingError: the hook raised it.
        WarmUpFailed: the hook raised anything else; the text has the place in the service's code.
    """
    try:
        yield
    except SettingError as error:
        raise SettingError(text_of(error)) from error
    except BaseException as error:
        where = _where(_places_of(error))
        text = f"{service}: {hook} failed: {shown(described(error))}"
        raise WarmUpFailed(f"{text} ({where})" if where else text) from error


def judge_decode(error: BaseException) -> OutcomeError:
    """The error of a request at which `decode` raised."""
    return judged(error, _decode_failed)


def judge_cost(error: BaseException) -> OutcomeError:
    """The error of a request at which `cost` raised."""
    return judged(error, lambda _: CostError("the cost of the request could not be computed"))


def judge_encode(error: BaseException, result: object = None) -> OutcomeError:
    """The error of a request at whose `result` the hook `encode` raised."""
    ours = judged(error, lambda _: EncodeError("the result could not be encoded"))
    array = _array_in(result)
    if array is not None and ours.cause:
        ours.cause += f"; let infer return the .tolist() of a {type_name(array)}"
    return ours


def _array_in(result: object) -> object | None:
    """An array, a tensor, or a scalar of such a library in a result: most encoders refuse these."""
    values = [result]
    if type(result) is dict:
        values += islice(result.values(), MOST_VALUES)
    elif type(result) in (list, tuple):
        values += islice(result, MOST_VALUES)  # type: ignore[call-overload] # it is one of the two
    for each in values:
        if any("tolist" in _names_in(base) for base in _bases_of(type(each))):
            return each
    return None


def judge_infer(error: BaseException) -> OutcomeError:
    """The error of a request at which `infer` raised."""
    return judged(error, _infer_failed)


def _decode_failed(error: BaseException) -> OutcomeError:
    kind = type(error)
    number = _errno_of(error) if issubclass(kind, OSError) else None
    is_short = type(number) is int and number in SHORTAGES
    is_short |= kind is RuntimeError and text_of(error) == NO_THREAD
    if is_short or issubclass(kind, NO_INPUTS_FAULT) or not issubclass(kind, Exception):
        return ServiceError("decode failed")
    return DecodeError("the request could not be decoded")


def _infer_failed(error: BaseException) -> OutcomeError:
    return InferError(f"infer failed: {type_name(error)}")


def judged(error: BaseException, otherwise: Callable[[BaseException], OutcomeError]) -> OutcomeError:
    """One of our own errors for whatever a hook raised; `otherwise` makes it where that is not one of ours.

    Raises:
        KeyboardInterrupt: a real one, at a hook that runs in the event loop's thread, as in tests.
    """
    was_raised = traceback_of(error) is not None
    if was_raised and issubclass(type(error), KeyboardInterrupt) and trio.lowlevel.in_trio_run():
        raise error
    try:
        if _is_judged(error):
            return error
        ours = _copied(error) if _is_outcome_error(error) else None
    except BaseException:  # noqa: BLE001 - its class can't be looked up
        ours = None
    if ours is None:
        ours = otherwise(error)
        ours.cause = described(error)
        ours.__cause__ = error
    places = _places_of(error)
    ours.where = _where(places)
    ours.frames = "".join(map(_frame, places[-MOST_FRAMES:]))
    return ours


def _is_judged(error: BaseException) -> TypeGuard[OutcomeError]:
    """Whether it is an error of ours that was judged before, as those from an executor's process."""
    if not _is_outcome_error(error) or type(error) not in _OURS or error.where is None:
        return False
    texts = (*error.args, error.code, error.kind, error.cause, error.where, error.frames)
    return all(type(each) is str and len(each) <= 2 * LONGEST_TEXT for each in texts)


def _is_outcome_error(error: BaseException) -> TypeGuard[OutcomeError]:
    return issubclass(type(error), OutcomeError)


def _copied(error: OutcomeError) -> OutcomeError:
    """An error of the nearest class of ours, with this one's text, code and kind."""
    nearest = next(each for each in type(error).__mro__ if each in _OURS)
    ours = nearest(text_of(error))
    if type(error) is not nearest or _attributes_of(error):
        ours.own = error
        ours.__cause__ = error
        ours.code = _word(error, "code", ours.code, lambda code: code.isascii() and code.isprintable())
        ours.kind = _word(error, "kind", ours.kind, KINDS.__contains__)
    return ours


def _word(error: OutcomeError, name: str, otherwise: Any, is_good: Callable[[str], bool]) -> Any:
    try:
        word = getattr(error, name)
    except BaseException:  # noqa: BLE001 - a property of the service's
        return otherwise
    return word if type(word) is str and 0 < len(word) <= LONGEST_CODE and is_good(word) else otherwise


def described(error: BaseException) -> str:
    """`ValueError: its text`, bounded, whatever its `__str__` does."""
    text = text_of(error)
    return f"{type_name(error)}: {text}" if text else type_name(error)


def text_of(error: BaseException) -> str:
    """Its text, bounded; where `__str__` raises, that is said instead."""
    try:
        return shortened(str.__str__(str(error)))
    except BaseException as failure:  # noqa: BLE001 - the service's code raised it
        return f"(its text can't be shown: __str__ raised {type_name(failure)})"


def type_name(value: object) -> str:
    """The name of its type, bounded."""
    return shown(str.__str__(_name_of_type(type(value))), LONGEST_CODE)


def exact_cost(cost: Any) -> float:
    """What `cost` returned, as a float.

    Raises:
        ValueError: it is not a finite number from 0 up; policies compare and sum costs.
    """
    exact = float(cost)
    if not 0 <= exact < math.inf:
        raise ValueError(f"cost must return a number from 0 up, not {exact!r}")
    return exact


def exact_bytes(body: Any) -> bytes:
    """What `encode` returned, as exact `bytes`; no method of a subclass is called.

    Raises:
        TypeError: it is not `bytes`, `bytearray` or `memoryview`.
    """
    kind = type(body)
    if kind is bytes:
        exact: bytes = body
        return exact
    if issubclass(kind, bytes):
        return bytes.__getitem__(body, slice(None))
    if issubclass(kind, bytearray):
        return bytes(bytearray.__getitem__(body, slice(None)))
    if kind is memoryview:
        return memoryview.tobytes(body)
    raise TypeError(f"a reply's body must be bytes, not {type_name(body)}")


def is_of_a_library(file: str) -> bool:
    """Whether a file of code is Python's own, an installed package's, or this package's."""
    return file.startswith((_HERE, *_LIBRARIES))


def _places_of(error: BaseException) -> list[_Frame]:
    """The frames of the service's own code in an error's traceback, the innermost last.

    Those of libraries are left out, unless there are no others.
    """
    found = list[_Frame]()
    at = traceback_of(error)
    while at is not None:
        found.append(_Frame(at.tb_frame.f_code, at.tb_lineno))
        at = at.tb_next
    foreign = [each for each in found if not each.code.co_filename.startswith(_HERE)]
    return [each for each in foreign if not is_of_a_library(each.code.co_filename)] or foreign


def _where(places: Sequence[_Frame]) -> str:
    if not places:
        return ""
    code, line = places[-1]
    return shown(f"{os.path.basename(code.co_filename)}:{line} in {code.co_name}", 200)  # noqa: PTH119 - it is a name only


def _frame(place: _Frame) -> str:
    summary = traceback.FrameSummary(place.code.co_filename, place.line, place.code.co_name)
    return shortened("".join(traceback.format_list([summary])), LONGEST_TEXT // MOST_FRAMES)


_OURS = frozenset(
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, OutcomeError)
)
