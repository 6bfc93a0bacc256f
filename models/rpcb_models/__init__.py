"""Services to run and to learn from. They use `rpcb_trio`'s public names only, and it never imports them."""
