"""Which recognisers run, by name and plain options, so that one line of configuration decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rpcb_models.asr.moonshine import Moonshine
from rpcb_models.asr.quartznet import QuartzNet
from rpcb_models.asr.recogniser import Recogniser
from rpcb_trio import SettingError


def recogniser_of(
    name: str | Recogniser, *, device: str | None = None, threads: int = 1, **options: Any
) -> Recogniser:
    """Make a recogniser; nothing is loaded.

    Args:
        name: "moonshine" or "quartznet"; or a recogniser of your own, which is passed on.
        device: torch's name of where to compute; the processor by default.
        threads: Of the recogniser's library.
        options: The recogniser's own; None stands for its default, as does an empty text, by which a command
            line takes away what a file of settings says.

    Raises:
        rpcb_trio.SettingError: there is no such recogniser, or it has no use for an option, or lacks one.
    """
    given = {option: value for option, value in options.items() if value not in (None, "")}
    if threads < 1:
        raise SettingError(f"threads is {threads}; give 1 or more")
    if not isinstance(name, str):
        return _own(name, device, given)
    if name not in _MAKERS:
        raise SettingError(f"recogniser is {name}; give {' or '.join(_MAKERS)}")
    return _MAKERS[name](device, threads, given)


def _own(recogniser: Recogniser, device: str | None, options: Mapping[str, Any]) -> Recogniser:
    for option in (*options, *(["device"] if device else [])):
        raise SettingError(f"{option} is set, but recogniser is an object already; make it with that")
    return recogniser


def _moonshine(device: str | None, threads: int, options: Mapping[str, Any]) -> Moonshine:
    for option in sorted(options.keys() - {"alone"}):
        raise SettingError(
            f"{option} is for quartznet, but recogniser is moonshine; set recogniser to quartznet, or leave "
            f"{option} out"
        )
    return Moonshine(threads=threads, device=device or "cpu", **options)


def _quartznet(device: str | None, threads: int, options: Mapping[str, Any]) -> QuartzNet:
    if "checkpoint" not in options:
        raise SettingError("quartznet needs a checkpoint: give the path of a .nemo file")
    if "alone" in options:
        raise SettingError("alone is for moonshine; quartznet's texts never depend on their batch")
    for option in ("lm_weight", "word_bonus", "beam_width"):
        if option in options and "lm" not in options:
            raise SettingError(f"{option} is set, but there is no lm to use it with")
    return QuartzNet(device=device or "cpu", threads=threads, **options)


_MAKERS: dict[str, Callable[[str | None, int, Mapping[str, Any]], Recogniser]] = {
    "moonshine": _moonshine,
    "quartznet": _quartznet,
}
