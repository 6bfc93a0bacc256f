"""`python -m rpcb_trio`, and the console script `rpcb-trio`."""

from rpcb_trio._commands import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
