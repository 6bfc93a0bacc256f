"""Where commands put what they found: the terminal, a file of JSON, a chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Group, Parameter
from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._shown import on_one_line
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # an extra

OUTPUT = Group("Output", sort_key=9)


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """Where what is found goes, besides the terminal."""

    plot: Annotated[Path | None, flag(OUTPUT, metavar="FILE")] = None
    """Draw a chart into this PNG file."""
    figures: Annotated[Path | None, flag(OUTPUT, metavar="FILE")] = None
    """Write all figures into this file, as JSON."""

    def checked(self) -> OutputFlags:
        """The same with absolute paths, for a service may change the directory.

        Raises:
            SettingError: what is found could not be written there.
        """
        for option, path in (("--plot", self.plot), ("--figures", self.figures)):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise SettingError(
                    f"{option}: {path} can't be written; name a file in a directory that is there"
                )
        if self.plot is not None and find_spec("matplotlib") is None:
            raise SettingError(
                "--plot: matplotlib is not installed; install rpcb-trio[plot], or leave --plot out"
            )
        return OutputFlags(
            plot=self.plot and self.plot.absolute(), figures=self.figures and self.figures.absolute()
        )

    def write(self, found: object, draw: Callable[[], Figure]) -> None:
        """Write what was found and what is drawn of it. In JSON, numbers that are infinite or none are null.

        Raises:
            SettingError: a file can't be written.
        """
        if self.figures is not None:
            text = msgspec.json.format(msgspec.json.encode(found)) + b"\n"
            _write("--figures", self.figures, lambda path: path.write_bytes(text))
        if self.plot is not None:
            _write("--plot", self.plot, lambda path: draw().savefig(path, dpi=150))


Outputs = Annotated[OutputFlags, Parameter(name="*")]


def _write(option: str, path: Path, write: Callable[[Path], object]) -> None:
    try:
        write(path)
    except OSError as error:
        raise SettingError(f"{option}: {path} can't be written: {error.strerror}") from error


def progress_bar() -> Progress:
    """A bar on the terminal that leaves no trace; nothing where there is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def new_table(title: str, *columns: str) -> Table:
    """A table in the house's style, with the figures to the right."""
    plain = Text(on_one_line(title), style="table.title")  # names in it may look like markup
    table = Table(title=plain, box=HORIZONTALS, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def say(console: Console, text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def rate(per_second: float) -> str:
    """Four digits, without an exponent."""
    return f"{Decimal(f'{per_second:.4g}'):f}"


def ms(seconds: float) -> str:
    """As milliseconds, three digits; a dash where there is no such time."""
    if not seconds < float("inf"):
        return "-"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{1e3 * seconds:.0f} ms"
