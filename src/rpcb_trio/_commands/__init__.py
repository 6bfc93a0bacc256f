"""The command line: commands, lifetimes, signals, exit codes; nothing else."""

from rpcb_trio._commands._app import main, run

__all__ = ["main", "run"]
