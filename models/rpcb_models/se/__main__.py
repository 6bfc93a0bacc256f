"""`python -m rpcb_models.se FILE...`: enhance recordings without any broker."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.progress import track

from rpcb_models.audio import MAX_SECONDS, AudioError, Samples, read_audio
from rpcb_models.se.service import SpeechEnhancement
from rpcb_models.se.wav import wav_bytes
from rpcb_trio import SettingError

SUFFIX = ".enhanced.wav"
DONE, SOME_FAILED, WRONG_SETTING = 0, 1, 2

app = App(
    name="python -m rpcb_models.se",
    version_flags=(),
    help_epilogue="Exit codes: 0 all done; 1 some files failed, one line each; 2 a wrong setting.",
)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        command, bound, _ = app.parse_args(argv, print_error=False, exit_on_error=False)
        return command(*bound.args, **bound.kwargs) or DONE
    except (CycloptsError, SettingError) as error:
        errors.print(f"error: {error}", markup=False)
        return WRONG_SETTING


@app.default
def enhance(
    *files: Path,
    output: Path | None = None,
    model: str = "dtln",
    checkpoint: Path | None = None,
    stride: int | None = None,
    resample: int | None = None,
    normalize: bool | None = None,
    dry: float = 0.0,
    batch_size: int = 8,
    max_seconds: float = MAX_SECONDS,
    device: str | None = None,
    threads: int = 1,
) -> int:
    """Enhance recordings of speech: NAME.mp3 (wav, m4a, flac, ...) becomes NAME.enhanced.wav, 16 kHz mono.

    Args:
        files: The recordings, of any format, rate and channel count.
        output: The directory to write to; each recording's own otherwise.
        model: dtln or demucs.
        checkpoint: For demucs: a .th file (dns48, dns64, master64, your own); a small one otherwise.
        stride: Of demucs' network, where the file has weights alone, as the following two.
        resample: How many times the audio's rate it works at: 1, 2 or 4.
        normalize: Whether it wants each clip at one loudness.
        dry: Share of the original in the result, 0 to 1.
        batch_size: How many recordings the model takes at once.
        max_seconds: The longest recording, in seconds; memory grows with it.
        device: Where the model computes: cpu, cuda:0.
        threads: Of the model.
    """
    if not files:
        raise SettingError("no files are given; name the recordings to enhance")
    if batch_size < 1:
        raise SettingError(f"batch-size is {batch_size}; give 1 or more")
    targets = _targets(files, output)
    chosen = str(checkpoint) if checkpoint else None
    service = SpeechEnhancement(
        model,
        checkpoint=chosen,
        stride=stride,
        resample=resample,
        normalize=normalize,
        dry=dry,
        device=device,
        threads=threads,
    )
    service.warm_up()
    sources = list(targets)
    batches = [sources[start : start + batch_size] for start in range(0, len(sources), batch_size)]
    written = 0
    for batch in track(batches, "enhancing", console=errors, transient=True):
        clips = {file: clip for file in batch if (clip := _read(file, max_seconds)) is not None}
        for file, result in zip(clips, service.infer(list(clips.values())), strict=True):
            written += _write(file, targets[file], result)
    return DONE if written == len(targets) else SOME_FAILED


def _targets(files: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    targets = {file: (output or file.parent) / f"{file.stem}{SUFFIX}" for file in files}
    sources: dict[Path, Path] = {}
    for file, target in targets.items():
        if sources.setdefault(target, file) != file:
            raise SettingError(
                f"{sources[target]} and {file} would both be written to {target}; enhance them one by one, "
                "with an output of their own"
            )
    return targets


def _read(file: Path, max_seconds: float) -> Samples | None:
    try:
        return read_audio(file.read_bytes(), file.suffix, max_seconds=max_seconds)
    except (AudioError, OSError) as error:
        _failed(file, error)
        return None


def _write(file: Path, target: Path, result: Samples | Exception) -> bool:
    if isinstance(result, Exception):
        _failed(file, result)
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wav_bytes(result))
    except OSError as error:
        _failed(target, error)
        return False
    return True


def _failed(file: Path, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) else error
    errors.print(f"{file}: {reason}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
