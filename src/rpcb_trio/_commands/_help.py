"""What the help of a command says beside its settings."""

from __future__ import annotations

ALL = "--help-all"


def epilogue(example: str) -> str:
    """The end of a command's help."""
    return (
        f"Example: `rpcb-trio {example}`\n\n"
        f"More settings: {ALL}. A setting is a flag (--max-wait), a variable (RPCB_MAX_WAIT) or a key of "
        "rpcb.toml (max_wait), in this order of precedence. Exit codes: rpcb-trio exit-codes."
    )
