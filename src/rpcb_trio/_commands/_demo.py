"""The command `demo`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio.errors import SettingError

INSTALL = "pip install 'rpcb-trio[demo]', or in a checkout: pip install -e ./models -e '.[demo]'"


def demo(*, output: Path = Path("demo-output")) -> int:
    """Transcribe real speech one by one and in batches, then enhance noisy speech, with an embedded broker.

    It needs no RabbitMQ and no GPU, but the models: pip install 'rpcb-trio[demo]', or in a
    checkout: pip install -e ./models -e '.[demo]'

    Args:
        output: Directory for the noisy and the enhanced recordings and a picture of them.
    """
    try:
        main = import_module("rpcb_models.demo").main
    except ModuleNotFoundError as error:
        raise SettingError(f"demo needs {error.name}: {INSTALL}") from error
    main(output=output)
    return ExitCode.DONE
