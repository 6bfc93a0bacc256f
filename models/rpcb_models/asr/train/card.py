"""The card beside a checkpoint: what it was made of, how well it hears, and what it is not good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpcb_models.asr.train.corpus import Split
from rpcb_models.asr.train.evaluation import Heard, character_error_rate
from rpcb_models.asr.train.recipe import Plan
from rpcb_models.wer import word_error_rate

_EXAMPLES = 5
_TEXT = """\
# {name}

A small QuartzNet (0.57 million parameters) for English, trained by `python -m rpcb_models.asr.train`. For
tests and demonstrations of a `.nemo` checkpoint; **not for transcribing**.

## What it was trained on

{prompts} telephone prompts ({minutes_of_prompts:.0f} minutes), all by one speaker: **Asterisk Core Sounds
(English)**, spoken by **Allison Smith** (<http://www.theivrvoice.com>), with financial contributions by
**Digium, Inc.** (<http://www.digium.com>), licensed under the Creative Commons Attribution-ShareAlike 3.0
licence, <https://creativecommons.org/licenses/by-sa/3.0/>. They were decoded from Debian's package
asterisk-core-sounds-en-g722, and varied in speed and noise. Whoever passes the weights on should do so under
the same licence and with this attribution. Neither the voice nor Digium endorses this model.

{synthetic}

## How

Seed {seed}, {length}, {spent:.1f} minutes of processor time in all. Batches of {batch_seconds:g} s, AdamW
with a learning rate of {lr:g} at its highest.

## How well it hears

Decoded greedily, without a language model:

| | clips | characters wrong (CER) | words wrong (WER) |
|---|---|---|---|
| unseen prompts of three words and more, by the same speaker | {rates} |
| sentences of a novel by another speaker (LibriVox) | {rates_of_others} |

The unseen prompts share the speaker, the microphone and many phrases with those it was trained on. Some of
them, from the shortest to the longest:

| said | heard |
|---|---|
{examples}

## What it is not good for

- Other speakers, rooms, accents and languages: it knows one voice in a studio.
- Other subjects: it has heard some five hundred words, all about telephones.
- Figures, punctuation, capitals: it writes `a` to `z`, spaces and apostrophes.
- Any use in which a wrong word does harm.
"""


@dataclass(frozen=True)
class Origin:
    """What a checkpoint was made of. Its clips are the prompts, then the synthetic ones."""

    clips: Split
    plan: Plan
    synthetic: int
    minutes: float
    """Of processor time."""


def card(name: str, origin: Origin, unseen: Sequence[Heard], others: Sequence[Heard]) -> str:
    """Write the card in Markdown.

    Args:
        name: The checkpoint's.
        origin: What it was made of.
        unseen: What it makes of the prompts that it has not learned from.
        others: What it makes of another speaker.
    """
    plan, training = origin.plan, origin.clips.training
    real = training[: len(training) - origin.synthetic]
    return _TEXT.format(
        name=name,
        prompts=len(real),
        minutes_of_prompts=sum(clip.seconds for clip in real) / 60,
        synthetic=_synthetic(origin),
        seed=plan.seed,
        length=f"{plan.epochs} epochs" if plan.epochs else f"planned for {plan.minutes:g} minutes",
        spent=origin.minutes,
        batch_seconds=plan.batch_seconds,
        lr=plan.lr,
        rates=_rates(unseen),
        rates_of_others=_rates(others),
        examples="\n".join(f"| {each.said} | {each.heard} |" for each in _spread(unseen)),
    )


def _rates(results: Sequence[Heard]) -> str:
    words = word_error_rate([each.said for each in results], [each.heard for each in results])
    return f"{len(results)} | {character_error_rate(results):.1%} | {words:.1%}"


def _synthetic(origin: Origin) -> str:
    if not origin.synthetic:
        return "No synthetic speech."
    return f"And {origin.synthetic} sentences made of the same words, read by voices of espeak-ng."


def _spread(results: Sequence[Heard]) -> list[Heard]:
    """Some of the results, from the shortest clip to the longest."""
    return list(results[:: max(1, len(results) // _EXAMPLES)][:_EXAMPLES])
