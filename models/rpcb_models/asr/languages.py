"""Which language a request is in, where a service has a recogniser for each of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rpcb_models.asr.choice import recogniser_of
from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.wire import RefusedRequest, Status
from rpcb_trio import SettingError

UNNAMED: Final = ""
"""The language of a recogniser that tells none; it takes every request."""

_TAG: Final = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8})*")  # as in BCP 47
_MOST_SHOWN: Final = 40  # characters
_OF_ALL: Final = frozenset({"device", "threads"})


def recognisers_of(
    recogniser: str | Recogniser | Mapping[str, Recogniser], languages: str | None, **options: Any
) -> dict[str, Recogniser]:
    """Make the recognisers by their languages, the default first; nothing is loaded.

    Args:
        recogniser: As `recogniser_of` has it; or recognisers of your own, each by its language.
        languages: The language of that one recogniser, `zh`; or, of several, each with its recogniser:
            `en=moonshine,zh=FILE.nemo`.
        options: As for `recogniser_of`; with several, those of all alone.

    Raises:
        rpcb_trio.SettingError: as `recogniser_of`, or the languages can't be read or don't go with the rest.
    """
    if isinstance(recogniser, Mapping):
        return _own(recogniser, languages, options)
    if not languages or "=" not in languages:
        one = recogniser_of(recogniser, **options)
        tag = _tag(languages) if languages else getattr(one, "language", UNNAMED)
        return {tag: one}
    if recogniser != "moonshine":  # the default
        raise SettingError("languages names the recognisers; leave recogniser out")
    _refuse_options(options, "languages names several recognisers; give them as objects to have more options")
    return _several(languages, **{name: value for name, value in options.items() if name in _OF_ALL})


def language_of(asked: object, served: Sequence[str]) -> str:
    """Find the language among those served, the default first, that a request's field means.

    `en-GB` is served by `en`, and `zh` by `zh-cn`; case does not matter.

    Raises:
        RefusedRequest: it is none of them; the text names them.
    """
    if asked in (None, msgspec.UNSET, "") or served[0] == UNNAMED:
        return served[0]
    if isinstance(asked, str):
        tag = asked.strip().lower().replace("_", "-")
        for found in (tag, *served):
            if found in served and (f"{tag}-".startswith(f"{found}-") or f"{found}-".startswith(f"{tag}-")):
                return found
    shown = repr(asked)[:_MOST_SHOWN] if isinstance(asked, str) else f"of type {type(asked).__name__}"
    raise RefusedRequest(
        Status.UNSUPPORTED_FORMAT, f"the language is {shown}; served here: {', '.join(served)}"
    )


def _own(
    recognisers: Mapping[str, Recogniser], languages: str | None, options: Mapping[str, Any]
) -> dict[str, Recogniser]:
    if languages:
        raise SettingError("languages is set, but recogniser is a map with the languages already")
    if not recognisers:
        raise SettingError("recogniser is an empty map; give a recogniser for a language")
    _refuse_options(options, "recogniser is a map of objects; make them with it", also=frozenset({"device"}))
    return {_tag(tag): recogniser_of(each) for tag, each in recognisers.items()}


def _several(languages: str, **options: Any) -> dict[str, Recogniser]:
    found: dict[str, Recogniser] = {}
    for each in filter(None, map(str.strip, languages.split(","))):
        name, _, what = map(str.strip, each.partition("="))
        tag = _tag(name)
        if tag in found:
            raise SettingError(f"languages names {tag} twice; give each language one recogniser")
        if what.endswith(".nemo"):
            found[tag] = recogniser_of("quartznet", checkpoint=what, **options)
        elif what == "moonshine":
            found[tag] = recogniser_of(what, **options)
        else:
            raise SettingError(
                f"languages has {each!r}; give a language and its recogniser, as en=moonshine or zh=FILE.nemo"
            )
    return found


def _refuse_options(options: Mapping[str, Any], why: str, *, also: frozenset[str] = frozenset()) -> None:
    for name, value in options.items():
        if value not in (None, "") and (name in also or name not in _OF_ALL):
            raise SettingError(f"{name} is set, but {why}")


def _tag(language: str) -> str:
    tag = language.strip().lower().replace("_", "-")
    if not _TAG.fullmatch(tag):
        raise SettingError(
            f"languages has {language!r}, which is no language's code; give one as en or zh-CN"
        )
    return tag
