"""`python -m rpcb_trio`, and the console script `rpcb-trio`."""

import sys

from rpcb_trio._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
