"""`python -m rpcb_models.asr FILE...`: transcribe recordings without any broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from cyclopts import App, CycloptsError
from rich.console import Console
from rich.progress import Progress

from rpcb_models.asr.choice import recogniser_of
from rpcb_models.asr.hearing import Hearing, Said
from rpcb_models.asr.quartznet import QuartzNet
from rpcb_models.asr.service import MAX_SECONDS
from rpcb_models.audio import AudioError, Samples, audio_blocks, joined
from rpcb_trio import SettingError

DONE, SOME_FAILED, WRONG_SETTING, STOPPED = 0, 1, 2, 130

T = TypeVar("T")

app = App(
    name="python -m rpcb_models.asr",
    version_flags=(),
    help_epilogue="Exit codes: 0 all done; 1 some files failed, one line each; 2 a wrong setting.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        command, bound, _ = app.parse_args(argv, print_error=False, exit_on_error=False)
        return command(*bound.args, **bound.kwargs) or DONE
    except (CycloptsError, SettingError) as error:
        _say(f"error: {error}")
        return WRONG_SETTING
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:  # the reader of the pipe has closed it; nothing is left to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


@app.default
def transcribe(
    *files: Path,
    recogniser: str = "moonshine",
    checkpoint: Path | None = None,
    lm: Path | None = None,
    batch_size: int = 16,
    log_probs: Path | None = None,
    times: bool = False,
    speech_only: bool = True,
    max_seconds: float = MAX_SECONDS,
    device: str | None = None,
    threads: int = 1,
) -> int:
    """Transcribe recordings of speech: a line for each, its name, a tab and its text; of one, the text alone.

    Args:
        files: The recordings, of any format, rate and channel count.
        recogniser: moonshine or quartznet.
        checkpoint: For quartznet: a .nemo file.
        lm: For quartznet: a language model, ARPA or KenLM's binary.
        batch_size: How many recordings the recogniser takes at once.
        log_probs: For quartznet: write an .npz file with an array [T', V + 1] for each recording, under its
            name without suffix, or its path where two have one name. Recordings are then recognised whole.
        times: Write a line for each stretch of speech, with the seconds from which to which it lasts.
        speech_only: Keep noise, tones, music and long pauses from the recogniser.
        max_seconds: The longest recording, in seconds.
        device: Where to compute: cpu, cuda:0.
        threads: Of the recogniser.
    """
    _refuse_senseless(files, batch_size, log_probs, recogniser, times=times)
    model = recogniser_of(recogniser, device=device, threads=threads, checkpoint=checkpoint, lm=lm)
    hearing = Hearing(model, gate=speech_only and log_probs is None)
    hearing.load()
    reader = _Reader(files, batch_size, max_seconds)
    arrays: dict[Path, np.ndarray] = {}
    done = 0
    results = _heard(hearing, reader)
    if log_probs is not None and isinstance(model, QuartzNet):
        results = _with_log_probs(model, reader, arrays)
    for file, said in results:
        _show(f"{file}\t" if len(files) > 1 else "", said, times=times)
        done += 1
    if log_probs is not None:
        _write(log_probs, arrays)
    return DONE if done == len(files) else SOME_FAILED


def _refuse_senseless(
    files: Sequence[Path], batch_size: int, log_probs: Path | None, recogniser: str, *, times: bool
) -> None:
    if not files:
        raise SettingError("no files are given; name the recordings to transcribe")
    if batch_size < 1:
        raise SettingError(f"batch-size is {batch_size}; give 1 or more")
    if log_probs is not None and recogniser == "moonshine":
        raise SettingError("moonshine has no log-probabilities of frames; --log-probs is for quartznet")
    if log_probs is not None and times:
        raise SettingError("--log-probs is for whole recordings; leave --times out")


def _heard(hearing: Hearing, reader: _Reader) -> Iterator[tuple[Path, list[Said]]]:
    for batch in reader.batches(lambda blocks: [*chain.from_iterable(hearing.in_parts(blocks))]):
        heard = hearing.hear([segments for _, segments in batch])
        yield from zip([file for file, _ in batch], heard, strict=True)


def _with_log_probs(
    model: QuartzNet, reader: _Reader, arrays: dict[Path, np.ndarray]
) -> Iterator[tuple[Path, list[Said]]]:
    for batch in reader.batches(lambda blocks: joined([*blocks])):
        found = model.log_probs([clip for _, clip in batch])
        arrays.update(zip([file for file, _ in batch], found, strict=True))
        yield from zip(
            [file for file, _ in batch],
            [[Said(0.0, 0.0, text)] for text in model.texts(found)],
            strict=True,
        )


@dataclass(frozen=True)
class _Reader:
    """Reads those files that can be read."""

    files: Sequence[Path]
    batch_size: int
    max_seconds: float

    def batches(self, take: Callable[[Iterable[Samples]], T]) -> Iterator[list[tuple[Path, T]]]:
        """The files, and what `take` makes of the blocks of each."""
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("transcribing", total=len(self.files))
            for start in range(0, len(self.files), self.batch_size):
                batch = self.files[start : start + self.batch_size]
                yield [(file, taken) for file in batch if (taken := self._read(file, take)) is not None]
                progress.advance(task, len(batch))

    def _read(self, file: Path, take: Callable[[Iterable[Samples]], T]) -> T | None:
        try:
            return take(audio_blocks(file.read_bytes(), file.suffix, max_seconds=self.max_seconds))
        except AudioError as error:
            _say(f"{file}: {error}")
        except OSError as error:
            _say(f"{file}: {error.strerror}")
        return None


def _show(name: str, said: Sequence[Said], *, times: bool) -> None:
    lines = [" ".join(each.text for each in said)]
    if times:
        lines = [f"{each.start:.2f}\t{each.end:.2f}\t{each.text}" for each in said]
    for line in lines:
        sys.stdout.write(f"{name}{line}\n")
    sys.stdout.flush()


def _write(output: Path, arrays: dict[Path, np.ndarray]) -> None:
    stems = [file.stem for file in arrays]
    named = {
        (file.stem if stems.count(file.stem) == 1 else str(file)): array for file, array in arrays.items()
    }
    try:
        with output.open("wb") as file:
            np.savez(file, allow_pickle=False, **named)
    except OSError as error:
        raise SettingError(f"--log-probs: {output} can't be written: {error.strerror}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"{' '.join(line.split())}\n")


if __name__ == "__main__":
    sys.exit(main())
