"""What several tests of the gateway share."""

from __future__ import annotations

import pytest

from rpcb_models.asr import Moonshine


@pytest.fixture(scope="session")
def moonshine() -> Moonshine:
    """The recogniser, loaded once."""
    recogniser = Moonshine()
    recogniser.load()
    return recogniser
