"""A training as its user sees it: a bar, a line for each epoch, and a state to resume from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rpcb_models.asr.train.corpus import Clip
from rpcb_models.asr.train.evaluation import character_error_rate, transcribed
from rpcb_models.asr.train.recipe import Step, Training


def follow(training: Training, validation: Sequence[Clip], state: Path, console: Console) -> None:
    """Train to the plan's end; the state is written after each epoch and at the end."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("epoch 1", total=1.0)
        losses: list[float] = []
        for step in training.steps():
            losses.append(step.loss)
            progress.update(bar, completed=step.share, description=_now(step))
            if step.ends_epoch or step.share >= 1:
                console.print(_line(training, step, losses, validation))
                _save(training, state)
                losses.clear()


def _now(step: Step) -> str:
    return f"epoch {step.epoch + 1}, batch {step.batch + 1} of {step.batches}, loss {step.loss:.2f}"


def _line(training: Training, step: Step, losses: Sequence[float], validation: Sequence[Clip]) -> str:
    error_rate = character_error_rate(transcribed(training.network, validation))
    return (
        f"epoch {step.epoch + 1:3}   loss {sum(losses) / len(losses):5.2f}   "
        f"unseen prompts: CER {error_rate:6.1%}   {training.seconds / 60:5.1f} min"
    )


def _save(training: Training, path: Path) -> None:
    """Replace the file as a whole, so that an interruption leaves the one before."""
    beside = path.with_name(f"{path.name}.part")
    torch.save(training.state(), beside)
    beside.replace(path)
