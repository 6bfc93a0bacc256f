"""The command `try`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.console import Console

from rpcb_trio._commands._bodies import (
    REQUEST,
    Body,
    of_fields,
    read_body,
    read_json,
)
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._outputs import ms, say
from rpcb_trio._commands._replies import REPLY, print_reply
from rpcb_trio._commands._settings._parameters import SERVICE, flag, setting
from rpcb_trio._commands._settings._shared import FLAT, ConfigPath, ServiceSettings
from rpcb_trio._commands._settings._values import as_they_look, split_pair
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._commands.trial._batch import Input, Tried, try_batch
from rpcb_trio._shown import did_you_mean
from rpcb_trio.errors import OutcomeError, SettingError

OPTIONS = ("--text", "--json", "--field", "--output", "--option", "--device", "--config")

Target = Annotated[str | None, setting(SERVICE, help="What to try, as serve takes it.", common=True)]


@FLAT
@dataclass(frozen=True, kw_only=True)
class InputFlags:
    """The requests, besides those that are files."""

    text: Annotated[tuple[str, ...], flag(REQUEST, metavar="TEXT", shown=False)] = ()
    """Or: a body as UTF-8. Repeatable."""
    json: Annotated[
        tuple[str, ...], flag(REQUEST, metavar="JSON", shown=False, allow_leading_hyphen=True)
    ] = ()
    """Or: a body of JSON; @FILE for that of a file, - for stdin. Repeatable."""
    field: Annotated[tuple[str, ...], flag(REQUEST, metavar="NAME=VALUE", shown=False)] = ()
    """Or: one body, a msgpack map of these; NAME=@FILE takes a file's bytes. Repeatable."""
    output: Annotated[Path | None, flag(REPLY, metavar="FILE")] = None
    """Write the reply's body into this file."""


def try_(
    target: Target = None,
    file: Annotated[
        tuple[Path, ...],
        flag(
            REQUEST,
            "Files that hold a body each; - for stdin.",
            "FILE",
            shown=False,
            allow_leading_hyphen=True,
        ),
    ] = (),
    *,
    given: InputFlags = InputFlags(),
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    service: Annotated[ServiceSettings, Parameter(name="*")] = ServiceSettings(),
) -> int:
    """Run a service on some requests as one batch, without a broker, and print the replies.

    What the batch took is said on stderr, and so is each error, with its place in the service's code. An
    error reply ends the command with 7.
    """
    if target is None:
        raise SettingError("TARGET is missing; name a service as module:attribute")
    inputs = _inputs(file, given)
    if given.output is not None and len(inputs) > 1:
        raise SettingError("--output is for one reply; give one request")
    output = None if given.output is None else given.output.absolute()
    bound = load_service(target, as_they_look("option", service.option))
    show = partial(print_reply, output=output, as_json=bool(given.field))
    console = Console(stderr=True)
    tried = trio.run(try_batch, bound, inputs, service.device, partial(show, apart=True))
    apart = len(inputs) > 1 or bound.stream_infer is not None
    for each, (reply, error) in zip(inputs, tried.ended, strict=True):
        if len(inputs) > 1:
            say(console, f"{each.label}:")
        if reply is not None:
            show(reply, apart=apart)
        if error is not None:
            _tell(console, error)
    say(console, _times(tried))
    return ExitCode.ERROR_REPLY if any(error for _, error in tried.ended) else ExitCode.DONE


def _inputs(files: Sequence[Path], given: InputFlags) -> list[Input]:
    for each in files:
        if str(each).startswith("-") and str(each) != "-":  # the parser lets it through, for the sake of "-"
            hint = did_you_mean(str(each).partition("=")[0], OPTIONS) or f"; a file of that name is ./{each}"
            raise SettingError(f"there is no option {each}{hint}")
    inputs = [Input("stdin" if str(each) == "-" else str(each), read_body("FILE", each)) for each in files]
    inputs += [Input(each, Body(each.encode())) for each in given.text]
    inputs += [Input(each, read_json(each)) for each in given.json]
    if given.field:
        body = of_fields(split_pair("--field", each) for each in given.field)
        inputs.append(Input(", ".join(given.field), body))
    if not inputs:
        raise SettingError("there is no request; give FILE, --text, --json or --field")
    return inputs


def _tell(console: Console, error: OutcomeError) -> None:
    """As the log of a worker tells it, with the frames of the service's own code."""
    say(console, f"error reply ({error.code}): {error.in_full}")
    if error.cause:
        say(console, error.frames.rstrip("\n"))


def _times(tried: Tried) -> str:
    took = [f"warm-up {tried.warm_up:.2f} s"]
    if tried.decode is not None:
        took.append(f"decode {ms(tried.decode)}")
    for size, seconds, runs in tried.batches:
        more = "" if runs == 1 else f" in {runs} runs"
        took.append(f"infer {ms(seconds)} for a batch of {size}{more}")
    if tried.encode is not None:
        took.append(f"encode {ms(tried.encode)}")
    return ", ".join(took)
