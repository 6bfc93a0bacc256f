"""The command: prompts -> a checkpoint and its card."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from rpcb_models.asr.train.archive import write_nemo
from rpcb_models.asr.train.card import Origin, card
from rpcb_models.asr.train.configuration import configuration, untrained
from rpcb_models.asr.train.corpus import Split, prompts, shipped, split
from rpcb_models.asr.train.course import follow
from rpcb_models.asr.train.evaluation import transcribed
from rpcb_models.asr.train.recipe import Plan, Training
from rpcb_models.asr.train.synthesis import synthetic_clips
from rpcb_models.devices import set_threads
from rpcb_trio import SettingError

VALIDATION_SHARE = 0.15  # of the texts of three words and more

Positive: TypeAlias = Annotated[float, Parameter(validator=Number(gt=0))]
Count: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1))]

app = App(name="python -m rpcb_models.asr.train", help_format="markdown", version_flags=())


@app.default
def train(
    *,
    output: Path = Path("prompts.nemo"),
    minutes: Positive = 30.0,
    epochs: Count | None = None,
    batch_seconds: Positive = 12.0,
    lr: Positive = 2e-3,
    seed: int = 0,
    synthetic: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    corpus: Path = Path("/"),
    resume: Annotated[bool, Parameter(negative=())] = False,
    threads: Count = 1,
) -> None:
    """Train a small QuartzNet on the prompts of Debian's asterisk-core-sounds-en-g722.

    It has 0.57 million parameters, and is no model to transcribe with. Writes OUTPUT, a card beside it (.md)
    and what --resume needs (.state).

    Args:
        output: The .nemo file to write.
        minutes: Of processor time.
        epochs: Passes over all clips, in the place of --minutes. The weights are then the same in every run
            on one thread of one kind of machine.
        batch_seconds: Of audio learned from at once, with its padding.
        lr: The learning rate at its highest.
        seed: Of the split, the weights, the batches and all augmentation.
        synthetic: How many sentences espeak-ng is to read in addition.
        corpus: The folder into which Debian's packages were unpacked (`dpkg -x`); / where they are installed.
        resume: Go on where the last run with this OUTPUT stood. --minutes and --epochs are of both together.
        threads: Of torch.
    """
    if output.suffix != ".nemo" or not output.absolute().parent.is_dir():
        raise SettingError(f"output is {output}; give a .nemo file in a folder that is there")
    set_threads(threads)
    console = Console()
    with console.status("reading the prompts"):
        clips = _corpus(corpus, synthetic, seed)
    config = configuration()
    plan = Plan(epochs=epochs, minutes=minutes, batch_seconds=batch_seconds, lr=lr, seed=seed)
    training = Training(untrained(config, seed=seed), clips.training, plan)
    state = output.with_suffix(".state")
    if resume:
        training.resume(_read_state(state))
    follow(training, clips.validation, state, console)
    unseen, others = (transcribed(training.network, held) for held in (clips.validation, shipped("librivox")))
    write_nemo(output, config, training.network)
    origin = Origin(clips, plan, synthetic, training.seconds / 60)
    output.with_suffix(".md").write_text(card(output.stem, origin, unseen, others), "utf-8")
    console.print(f"wrote {output}, {output.with_suffix('.md')} and {state}", soft_wrap=True)


def _corpus(root: Path, synthetic: int, seed: int) -> Split:
    real = split(prompts(root), share=VALIDATION_SHARE, seed=seed)
    more = synthetic_clips(
        [clip.text for clip in real.training],
        synthetic,
        unseen={clip.text for clip in real.validation},
        seed=seed,
    )
    return Split([*real.training, *more], real.validation)


def _read_state(path: Path) -> dict[str, object]:
    try:
        state: dict[str, object] = torch.load(path, weights_only=True)
    except OSError as error:
        raise SettingError(f"there is nothing to resume: {path} can't be read ({error.strerror})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise SettingError(f"there is nothing to resume: {path} is damaged") from error
    return state
