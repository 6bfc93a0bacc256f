"""Where the documentation is that alerts and dashboard link to: `--docs URL` of their programs."""

from __future__ import annotations

import argparse
import re

DOCS = "https://rpcb-trio.example"
"""Nobody can have such a name (RFC 2606): a link that was forgotten leads nowhere, to no stranger's page."""

ADDRESS = re.compile(r"https?://[^\s/?#\"'{}$]+(/[^\s?#\"'{}$]*)?")


def address_given(program: str) -> str | None:
    """What a program's command line says, without a slash at its end; None where it says nothing."""
    parser = argparse.ArgumentParser(f"python -m {program}")
    parser.add_argument("--docs", metavar="URL", type=_address)
    docs: str | None = parser.parse_args().docs
    return docs


def _address(text: str) -> str:
    if not ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is no address; write it as https://docs.example.org/rpcb")
    return text.rstrip("/")
