"""A pipeline of Hugging Face's transformers: `rpcb-trio serve transformers --option model=FOLDER`."""

from __future__ import annotations

from typing import Any

from rpcb_models.adapters._library import existing, library
from rpcb_trio import SettingError


class HuggingFace:
    """Serves a pipeline for texts: `text-classification`, `token-classification`, `feature-extraction`, ...

    A request is a text, or a map as the pipeline takes it (`{"text": ..., "text_pair": ...}`). The reply is
    what the pipeline returns for it. Texts are padded to the longest of their batch, so longer ones cost
    more, and the policy puts neighbours in length together.

    Args:
        model: a pipeline; or what it is loaded from, a folder of `save_pretrained` or a name of the Hub. The
            model's own code is never run.
        task: of the pipeline, where the model does not tell.
        options: given to each call, as `top_k=3` or `truncation=true`.
    """

    def __init__(self, model: str | Any, task: str | None = None, **options: Any) -> None:
        if isinstance(model, str) and model.startswith((".", "/", "~")):
            model = str(existing("model", model))
        self._model = model
        self._task = task
        self._options = options
        self._device: str | None = None
        self._pipeline: Any = None if isinstance(model, str) else model

    def on_device(self, device: str) -> HuggingFace:
        """The same for one replica's device."""
        if not isinstance(self._model, str):
            raise SettingError("device is set, but the pipeline was made by you; give the model's folder")
        placed = HuggingFace(self._model, self._task, **self._options)
        placed._device = device
        return placed

    def warm_up(self) -> None:
        """Load the model, where it is named."""
        if self._pipeline is None:
            pipeline = library("transformers", "transformers").pipeline
            self._pipeline = pipeline(self._task, model=self._model, device=self._device)

    def close(self) -> None:
        """Drop the model, where it can be loaded again."""
        if isinstance(self._model, str):
            self._pipeline = None

    def cost(self, item: str | dict[str, Any]) -> float:
        """The length in characters."""
        texts = (item,) if isinstance(item, str) else item.values()
        return float(sum(len(each) for each in texts if isinstance(each, str)))

    def infer(self, items: list[str | dict[str, Any]]) -> list[Any]:
        """Run the pipeline on all of them at once."""
        found: list[Any] = self._pipeline(items, batch_size=len(items), **self._options)
        return found
