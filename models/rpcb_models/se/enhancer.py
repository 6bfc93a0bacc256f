"""What every enhancer offers, and the two there are. torch is imported when one is loaded."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rpcb_models.audio import Samples
from rpcb_trio import SettingError

if TYPE_CHECKING:
    from rpcb_models.se.batches import BatchedNetwork

_HERE = Path(__file__).parent
SMALL_DEMUCS: Final = _HERE / "demucs_small.th"
"""The checkpoint shipped for trying Demucs out; README.md says what it is not good for."""


class Enhancer(Protocol):
    """A model from noisy to clean speech. Made without loading anything; several threads may use it."""

    def load(self) -> None:
        """Read the model's files. Later calls do nothing.

        Raises:
            rpcb_trio.SettingError: a file is missing or not the one expected, or the device is not there;
                says the remedy.
        """
        ...

    def enhance(self, clips: list[Samples]) -> list[Samples]:
        """Enhance clips (float32, mono, 16 kHz, any lengths); one as long for each, in order."""
        ...


class _TorchEnhancer(ABC):
    """Loads its network once, whichever thread asks first."""

    def __init__(self, *, device: str | None, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._loading = threading.Lock()
        self._network: BatchedNetwork | None = None

    def load(self) -> None:
        """As `Enhancer.load`."""
        self._loaded()

    def enhance(self, clips: list[Samples]) -> list[Samples]:
        """As `Enhancer.enhance`."""
        return self._loaded().enhance(clips)

    def _loaded(self) -> BatchedNetwork:
        import rpcb_models.devices  # noqa: F401, PLC0415 (it says what to install where torch is missing)

        with self._loading:
            if self._network is None:
                self._network = self._read()
            return self._network

    @abstractmethod
    def _read(self) -> BatchedNetwork: ...


class Dtln(_TorchEnhancer):
    """DTLN with the weights its authors published (MIT licence): light, and works out of the box.

    All clips go as one batch, for it has no padding to speak of: `rpcb_models.se.dtln` says what is measured.

    Args:
        device: Its torch name (`cpu`, `cuda:0`); None is the CPU.
        threads: Of torch. One leaves the other cores to the event loop, to decoding audio and to further
            replicas; more make a single batch faster.
    """

    def __init__(self, *, device: str | None = None, threads: int = 1) -> None:
        super().__init__(device=device, threads=threads)

    def _read(self) -> BatchedNetwork:
        from rpcb_models.se.batches import BatchedNetwork  # noqa: PLC0415 (they import torch)
        from rpcb_models.se.dtln import load_dtln  # noqa: PLC0415 - torch is an extra

        return BatchedNetwork(
            load_dtln(_HERE / "dtln.safetensors"),
            device=self._device,
            threads=self._threads,
            most_padding=1.0,
            most_seconds=math.inf,
        )


class Demucs(_TorchEnhancer):
    """Demucs from a `.th` checkpoint of denoiser's: dns48, dns64, master64, or what its trainer wrote.

    Its work is nearly all convolutions, which cost what the padded samples cost. Measured on one thread, per
    clip of 5 s: dns48 takes 0.90 s alone and 0.56 s in a batch of 4, the shipped small one 20 to 30 ms, alone
    as in a batch of 8. Of 25 clips of 2 to 8 s, that one takes 0.64 s one by one and in batches of clips
    whose lengths differ by 5 %, 0.97 s by 40 %, and 2.19 s as one batch.
    Memory: 23 MB for each second of padded audio with dns48, so a batch holds 32 s, or one longer clip.

    Args:
        checkpoint: The file; the small one that is shipped where it is None.
        device: As `Dtln`'s.
        threads: As `Dtln`'s.
        stride: Of the network, as the following two, where the file does not tell; see `load_demucs`.
        resample: See `load_demucs`.
        normalize: See `load_demucs`.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        threads: int = 1,
        stride: int | None = None,
        resample: int | None = None,
        normalize: bool | None = None,
    ) -> None:
        super().__init__(device=device, threads=threads)
        self._checkpoint = Path(checkpoint or SMALL_DEMUCS)
        self._given: dict[str, Any] = {"stride": stride, "resample": resample, "normalize": normalize}

    def _read(self) -> BatchedNetwork:
        from rpcb_models.se.batches import BatchedNetwork  # noqa: PLC0415 (they import torch)
        from rpcb_models.se.checkpoint import load_demucs  # noqa: PLC0415 - torch is an extra

        return BatchedNetwork(
            load_demucs(self._checkpoint, **self._given),
            device=self._device,
            threads=self._threads,
            most_padding=0.05,
            most_seconds=32.0,
        )


def named_enhancer(
    model: str,
    checkpoint: str | None = None,
    *,
    device: str | None = None,
    threads: int = 1,
    **network: Any,
) -> Enhancer:
    """The enhancer of that name: `dtln` or `demucs`.

    Args:
        model: The name.
        checkpoint: Of demucs.
        device: As `Dtln`'s.
        threads: As `Dtln`'s.
        network: Of demucs: stride, resample and normalize; None stands for what the file tells.

    Raises:
        rpcb_trio.SettingError: there is no such model, or something is given that it can't take.
    """
    given = {name: value for name, value in network.items() if value is not None}
    match model:
        case "dtln" if checkpoint is not None:
            raise SettingError(
                f"checkpoint is {checkpoint}, but dtln has its own weights; set model to demucs"
            )
        case "dtln" if given:
            name = next(iter(given))
            raise SettingError(
                f"{name} is for demucs, but model is dtln; set model to demucs, or leave {name} out"
            )
        case "dtln":
            return Dtln(device=device, threads=threads)
        case "demucs":
            return Demucs(checkpoint, device=device, threads=threads, **given)
        case _:
            raise SettingError(f"model is {model}; give dtln or demucs")


def blended(enhanced: Samples, noisy: Samples, dry: float) -> Samples:
    """Mix some of the original back in: float32 [T], `(1 - dry) * enhanced + dry * noisy`.

    A recogniser is often better served so: enhancement takes away some of what it listens for.
    """
    return enhanced if dry == 0 else (1 - dry) * enhanced + dry * noisy
