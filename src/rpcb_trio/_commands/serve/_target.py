"""TARGET: a service named as `module:attribute`, found and imported."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from rpcb_trio._green import refuse_green_threads
from rpcb_trio._guard import described, is_of_a_library
from rpcb_trio._service import BoundService, bind
from rpcb_trio._shown import did_you_mean, shown
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")

GREEN_REMEDY = "let what TARGET imports do without it (under `if __name__ == '__main__':`, say)"

SERVICES = "rpcb_trio.services"
"""The group of entry points in which a distribution offers its services."""

NO_OPTIONS: Mapping[str, object] = {}

LONGEST = 300
"""Characters of an error's text in one line."""

_LOOKS = (bool, int, float, NoneType)
"""What an option may look like besides text."""


def load_service(
    target: str,
    options: Mapping[str, object] = NO_OPTIONS,
    accept: Callable[[Any], BoundService] = bind,
    *,
    may_end: bool = True,
) -> BoundService:
    """Import what TARGET names and accept it as a service; a class is made with `options`.

    Args:
        target: as `load_attribute` takes it.
        options: for a class.
        accept: makes a service of what is found.
        may_end: whether its code may end the process, as by `sys.exit`; not where it would end
            without a word: in a process that serves already, and in an executor's.

    Raises:
        SettingError: it is not there, can't be imported, does not take the options, or is no service.
    """
    failures = Exception if may_end else BaseException
    found = load_attribute(target, failures)
    refuse_green_threads(GREEN_REMEDY)
    if options:
        _refuse_options(target, found, options)
    elif inspect.isclass(found):
        _refuse_missing_options(target, found)
    try:
        bound = accept(found(**options) if options else found)
    except SettingError as error:
        raise SettingError(f"{target}: {error}") from error
    except failures as error:
        raise SettingError(f"{target}: creating it fails: {_traced(error)}") from error
    return bound


def load_attribute(target: str, failures: type[BaseException] = Exception) -> Any:
    """Import what `module:attribute` names; modules of the working directory are found as well.

    A name without a colon is that of an installed service (see `installed_services`).

    Raises:
        SettingError: it is not there, or it can't be imported.
    """
    services = {} if ":" in target else installed_services()
    module_name, colon, path = services.get(target, target).partition(":")
    if not (module_name and colon and path):
        names = f", or name an installed service ({', '.join(sorted(services))})" if services else ""
        raise SettingError(f"{target}: write it as module:attribute, as in shout:shout{names}")
    if module_name.endswith(".py") or "/" in module_name:
        raise SettingError(
            f"{target}: {module_name} is a file; name its module, as in {_as_module(module_name)}:{path}"
        )
    find_modules_here()
    found: Any = _import(target, module_name, failures)
    for name in path.split("."):
        if not hasattr(found, name):
            whole = found.__name__ if isinstance(found, ModuleType) else type(found).__name__
            public = [each for each in dir(found) if not each.startswith("_")]
            hint = did_you_mean(name, public) or "; name a service or a function that is there"
            raise SettingError(f"{target}: {whole} has no attribute {name}{hint}")
        found = getattr(found, name)
    return found


def installed_services() -> dict[str, str]:
    """The services that installed distributions offer by name."""
    return {each.name: each.value for each in metadata.entry_points(group=SERVICES)}


def _as_module(file: str) -> str:
    """The module that a file is, seen from the working directory."""
    parts = Path(file.removesuffix(".py")).parts
    return ".".join(part for part in parts if part not in ("/", ".", ".."))


def _refuse_missing_options(target: str, found: Any) -> None:
    """A class that can't be made without arguments gets them from options."""
    missing = [
        name
        for name, each in _parameters(found).items()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if missing:
        given = " ".join(f"--option {name}=VALUE" for name in missing)
        raise SettingError(f"{target}: it can't be made without {', '.join(missing)}; give {given}")


def _refuse_options(target: str, found: Any, options: Mapping[str, object]) -> None:
    if not inspect.isclass(found):
        raise SettingError(f"{target}: option is for a class, which is made with it; name the class instead")
    taken = _parameters(found)
    takes_any = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    for name, value in options.items():
        if name in taken:
            _refuse_value(f"{target}: option {name}={value}", value, taken[name].annotation)
        elif not takes_any:
            hint = did_you_mean(name, taken) or f"; it takes {', '.join(taken) or 'none'}"
            raise SettingError(f"{target}: there is no option {name}{hint}")


def _parameters(found: Any) -> Mapping[str, inspect.Parameter]:
    """What a class is made with; where its annotations can't be read, they are left as text."""
    try:
        return inspect.signature(found, eval_str=True).parameters
    except Exception:  # noqa: BLE001 - evaluating an annotation may raise anything, as a name only known to mypy
        return inspect.signature(found).parameters


def _refuse_value(option: str, value: object, annotation: Any) -> None:
    """Check it where the annotation is of types that an option can be; text takes any value."""
    leaves = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if not all(leaf in _LOOKS or get_origin(leaf) is Literal for leaf in leaves):
        return
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        wanted = inspect.formatannotation(annotation).removeprefix("typing.")
        raise SettingError(f"{option}: it must be {wanted}") from error


def find_modules_here() -> None:
    """Let modules of the working directory be imported, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _import(target: str, name: str, failures: type[BaseException]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SettingError(
                f"{target}: there is no module {error.name} in {Path.cwd()} or among the installed packages; "
                "run this in the folder that holds it, or install it"
            ) from None
        raise SettingError(
            f"{target}: importing {name} fails: {_traced(error)}; install what it needs"
        ) from error
    except failures as error:
        raise SettingError(f"{target}: importing {name} fails: {_traced(error)}") from error


def _traced(error: BaseException) -> str:
    """An error of the user's own code in one line, with its place there; the traceback at debug."""
    log.debug("the traceback", exc_info=error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not is_of_a_library(each.filename)] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    return f"{shown(described(error), LONGEST)} ({place})"
