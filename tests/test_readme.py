"""The README does what it says."""

from __future__ import annotations

from pathlib import Path

from tests.blocks import ROOT
from tests.rabbitmq import Broker
from tests.running_pages import do_all


def test_the_readme_does_what_it_says(tmp_path: Path, broker: Broker) -> None:
    do_all(ROOT / "README.md", tmp_path, broker)
