"""`python -m models.asr FILE...`: transcribe recordings without any broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from cyclopts import App, CycloptsError
from rich.console import Console
from rich.progress import Progress

from models.asr.choice import recogniser_of
from models.asr.quartznet import QuartzNet
from models.asr.recogniser import Recogniser
from models.audio import MAX_SECONDS, AudioError, Samples, read_audio
from rpcb_trio import SettingError

DONE, SOME_FAILED, WRONG_SETTING, STOPPED = 0, 1, 2, 130

app = App(
    name="python -m models.asr",
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
    except BrokenPipeError:  # whoever reads has seen enough; nothing is left to be flushed at the end
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
            name without suffix, or its path where two have one name.
        max_seconds: The longest recording, in seconds; memory grows with it.
        device: Where quartznet computes: cpu, cuda:0.
        threads: Of the recogniser.
    """
    _refuse_senseless(files, batch_size, log_probs, recogniser)
    model = recogniser_of(recogniser, device=device, threads=threads, checkpoint=checkpoint, lm=lm)
    model.load()
    arrays: dict[Path, np.ndarray] = {}
    done = 0
    for file, text, found in _transcribed(model, files, batch_size, max_seconds):
        done += 1
        sys.stdout.write(f"{text}\n" if len(files) == 1 else f"{file}\t{text}\n")
        sys.stdout.flush()
        if log_probs is not None and found is not None:
            arrays[file] = found
    if log_probs is not None:
        _write(log_probs, arrays)
    return DONE if done == len(files) else SOME_FAILED


def _refuse_senseless(
    files: Sequence[Path], batch_size: int, log_probs: Path | None, recogniser: str
) -> None:
    if not files:
        raise SettingError("no files are given; name the recordings to transcribe")
    if batch_size < 1:
        raise SettingError(f"batch-size is {batch_size}; give 1 or more")
    if log_probs is not None and recogniser == "moonshine":
        raise SettingError("moonshine has no log-probabilities of frames; --log-probs is for quartznet")


def _transcribed(
    model: Recogniser, files: Sequence[Path], batch_size: int, max_seconds: float
) -> Iterator[tuple[Path, str, np.ndarray | None]]:
    """Each file that can be read, its text, and its log-probabilities where the model has them."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("transcribing", total=len(files))
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            read = [(file, clip) for file in batch if (clip := _read(file, max_seconds)) is not None]
            clips = [clip for _, clip in read]
            if isinstance(model, QuartzNet):
                found = model.log_probs(clips)
                texts = model.texts(found)
                yield from zip([file for file, _ in read], texts, found, strict=True)
            else:
                for (file, _), text in zip(read, model.transcribe(clips), strict=True):
                    yield file, text, None
            progress.advance(task, len(batch))


def _read(file: Path, max_seconds: float) -> Samples | None:
    try:
        return read_audio(file.read_bytes(), file.suffix, max_seconds=max_seconds)
    except AudioError as error:
        _say(f"{file}: {error}")
    except OSError as error:
        _say(f"{file}: {error.strerror}")
    return None


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
