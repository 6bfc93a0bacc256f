"""What a scrape of `/metrics` gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class Registry(Protocol):
    """Such as a `CollectorRegistry` of prometheus_client."""

    def collect(self) -> Iterable[Any]:
        """All metric families, with their samples."""
        ...


def exposed(registry: Registry, accept: str) -> tuple[bytes, str]:
    """A registry's samples as a body, and its content type: OpenMetrics or text, as a scrape accepts.

    Call it in a thread: a collector of the user's may take long.
    """
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - an extra

    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
