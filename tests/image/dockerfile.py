"""Reads a Dockerfile: its stages, and what each does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from string import Template

import msgspec

IGNORED = frozenset({"EXPOSE"})


class Step(msgspec.Struct, frozen=True):
    """RUN or COPY, as the stage's user and in its environment and directory at that place."""

    keyword: str
    text: str
    environment: Mapping[str, str]
    directory: str
    user: str

    @property
    def command(self) -> str:
        """Of RUN, without its caches."""
        return re.sub(r"^(--mount=\S+\s+)+", "", self.text)

    @property
    def copied(self) -> tuple[str | None, list[str], str]:
        """Of COPY: the stage it comes from, or None; what is copied; where to."""
        words = shlex.split(self.text)
        options = [word for word in words if word.startswith("--")]
        assert all(option.startswith("--from=") for option in options), self.text
        *sources, target = [word for word in words if not word.startswith("--")]
        return (options[0].partition("=")[2] if options else None), sources, target


class Stage(msgspec.Struct):
    """One FROM, and what follows it."""

    base: str
    name: str = ""
    steps: list[Step] = []
    environment: dict[str, str] = {}
    arguments: dict[str, str] = {}
    directory: str = "/"
    user: str = "0"
    health: list[str] = []
    entry: list[str] = []
    command: list[str] = []

    @property
    def of_a_run(self) -> dict[str, str]:
        return {**self.arguments, **self.environment}


def read(text: str, arguments: Mapping[str, str] = {}, bases: Mapping[str, Stage] = {}) -> list[Stage]:
    """The stages of a Dockerfile. `bases` are stages of other ones, by the name of their image.

    Raises:
        AssertionError: it has an instruction that is not known here.
    """
    stages: list[Stage] = []
    given: dict[str, str] = {}
    for keyword, rest in _instructions(text):
        if keyword == "ARG":
            name, _, default = rest.partition("=")
            value = arguments.get(name, default or given.get(name, ""))
            (stages[-1].arguments if stages else given)[name] = value
        elif keyword == "FROM":
            image, _, name = Template(rest).substitute(given).partition(" AS ")
            base = bases.get(image)
            stages.append(Stage(image) if base is None else _continued(base, image))
            stages[-1].name = name
        else:
            _obey(stages[-1], keyword, rest)
    return stages


def _obey(stage: Stage, keyword: str, rest: str) -> None:
    if keyword in ("RUN", "COPY"):
        stage.steps.append(Step(keyword, rest, stage.of_a_run, stage.directory, stage.user))
    elif keyword == "ENV":
        for word in shlex.split(Template(rest).safe_substitute(stage.of_a_run, PATH=_path(stage))):
            name, _, value = word.partition("=")
            stage.environment[name] = value
    elif keyword == "WORKDIR":
        stage.directory = rest
    elif keyword == "USER":
        stage.user = rest
    elif keyword == "HEALTHCHECK":
        stage.health = json.loads(rest[rest.index("CMD ") + 4 :])
    elif keyword == "ENTRYPOINT":
        stage.entry, stage.command = json.loads(rest), []
    elif keyword == "CMD":
        stage.command = json.loads(rest)
    else:
        assert keyword in IGNORED, f"{keyword} is not known here"


def _path(stage: Stage) -> str:
    return stage.environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def _continued(base: Stage, image: str) -> Stage:
    """A stage that begins where another one ends."""
    copied = msgspec.structs.replace(base, base=image, steps=[], arguments={})
    copied.environment = dict(base.environment)
    return copied


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), rest.strip()
