"""What several tests of the models share."""

from __future__ import annotations

import pytest

from rpcb_models.asr import Moonshine


@pytest.fixture(scope="session")
def moonshine() -> Moonshine:
    """The recogniser, loaded once; without its extra the error says how to get it."""
    recogniser = Moonshine()
    recogniser.load()
    return recogniser
