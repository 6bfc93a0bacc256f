"""What every recogniser offers, so that a service can run any of them."""

from __future__ import annotations

from typing import Protocol

from rpcb_models.audio import Samples


class Recogniser(Protocol):
    """A model from speech to text. Made without loading anything; used from several threads at once.

    It may have an attribute `language`, as `en`, and one `unspoken`: texts, in lower-case words, that it
    writes where it hears no speech.
    """

    def load(self) -> None:
        """Read the model's files. Later calls do nothing.

        Raises:
            rpcb_trio.SettingError: the files are missing or not the ones expected; says the remedy.
        """
        ...

    def transcribe(self, clips: list[Samples]) -> list[str]:
        """Recognise clips (float32, mono, 16 kHz, any lengths); one text for each, in order."""
        ...
