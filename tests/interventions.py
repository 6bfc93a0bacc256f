"""Cut a worker short at the k-th await of one of its stages, for every k there is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType, ModuleType
from typing import Any, Self

import trio
from trio._core import _run as trio_run


class AtStep(trio.abc.Instrument):
    """Calls `act` once, right after a task of `stage` has come to its `step`-th await, counted from 1.

    `places` gathers where in the source the tasks of that stage were, file and line.
    """

    def __init__(self, stage: str, step: float) -> None:
        self._stage = stage
        self._left = step
        self.act: Callable[[], None] = lambda: None
        self.places: set[tuple[str, int]] = set()

    @property
    def has_acted(self) -> bool:
        return self._left <= 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.rpartition(".")[2] != self._stage:
            return
        self.places |= stack(task)
        self._left -= 1
        if self._left == 0:
            self.act()

    def __enter__(self) -> Self:
        # Trio runs tasks in random order; now it is another one for each step, and always the same.
        trio_run._r.seed(self._left)
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)


def stack(task: trio.lowlevel.Task) -> set[tuple[str, int]]:
    """Where a task is: the lines of its coroutine and of all that it awaits, one inside the other."""
    places = set()
    coroutine: Any = task.coro
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        places.add((coroutine.cr_code.co_filename, coroutine.cr_frame.f_lineno))
        coroutine = coroutine.cr_await
    return places


def awaits(*modules: ModuleType) -> set[tuple[str, int]]:
    """Where the modules await, file and line."""
    return {
        (file, node.lineno)
        for file in map(inspect.getfile, modules)
        for node in ast.walk(ast.parse(Path(file).read_text()))
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))
    }
