"""Where a torch model computes: the device that is asked for, or an error; and how its batches get there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rpcb_trio import SettingError

try:
    import torch
except ModuleNotFoundError as missing:
    raise SettingError(f"this model needs {missing.name}: pip install -e '.[se,quartznet]'") from missing


def resolve_device(name: str | None) -> torch.device:
    """Find a device by its torch name (`cpu`, `cuda`, `cuda:1`); None is the CPU, whatever else is there.

    Raises:
        rpcb_trio.SettingError: torch can't use it. There is no silent way back to the CPU, which would be
            found out by its slowness.
    """
    try:
        device = torch.device(name or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device is {name}, but torch can't use it ({reason}); name one that is there, or cpu"
        ) from error
    return device


def set_threads(count: int) -> None:
    """Let torch compute in `count` threads, in the calling thread and in those that have not used it yet.

    Call it where the model is run, for each thread keeps the number it began with; it takes microseconds. One
    leaves the other cores to the event loop, to decoding audio and to further replicas.

    Raises:
        rpcb_trio.SettingError: it is not at least 1.
    """
    if count < 1:
        raise SettingError(f"threads is {count}; give 1 or more")
    torch.set_num_threads(count)


def uploaded(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Bring batches to the device, one ahead of the one that is computed.

    On a GPU each goes by pinned memory and a stream of its own, so that the next batch's copy overlaps the
    present one's work. On the CPU they are passed on as they are.

    Args:
        batches: In host memory, of any shapes and types; taken one ahead.
        device: As `resolve_device` found it.

    Yields:
        The same batches on the device, safe to use on the current stream.
    """
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        copying = _copying(batch, device, side)
        if ahead is not None:
            yield _arrived(*ahead)
        ahead = copying
    if ahead is not None:
        yield _arrived(*ahead)


def _copying(
    batch: torch.Tensor, device: torch.device, side: torch.cuda.Stream
) -> tuple[torch.Tensor, torch.cuda.Event]:
    with torch.cuda.stream(side):
        copy = batch.pin_memory().to(device, non_blocking=True)
        return copy, side.record_event()


def _arrived(copy: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
    current = torch.cuda.current_stream(copy.device)
    current.wait_event(copied)
    copy.record_stream(current)  # or its memory could be given away while this stream still reads it
    return copy
