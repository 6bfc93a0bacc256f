"""The addresses that replies go to, and how a log may show them."""

from __future__ import annotations

import hashlib
import re

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
"""How RabbitMQ's direct reply-to addresses begin; what follows is a secret of its caller."""

MADE_BY_A_BROKER = re.compile(
    r"(?:^|/)(?=amq\.(?!gen-|(?:direct|topic|fanout|headers|match)(?:/|$)))", re.IGNORECASE
)
"""Where in a `reply_to` such an address may begin, whichever broker made it: names with `amq.` are a broker's
own. The queues that it names itself are no secrets, nor are its exchanges."""

REPLY_TO_PREFIX = re.compile(r"amq\.(?:[a-z]+\.)?reply-to\.|amq\.", re.IGNORECASE)
"""What of it is the same for all callers of a broker."""


def caller_hash(reply_to: str) -> str:
    """A hash of a caller's address, the same in every log and file."""
    return hashlib.blake2b(reply_to.encode(), digest_size=8).hexdigest()


def shown_address(reply_to: str | None) -> str:
    """A `reply_to` as a log may show it: whoever knows a direct reply-to address can send there."""
    found = None if reply_to is None else MADE_BY_A_BROKER.search(reply_to)
    if reply_to is None or found is None:
        return repr(reply_to)
    known = REPLY_TO_PREFIX.match(reply_to, found.end())
    seen = reply_to[: found.end() if known is None else known.end()]
    return f"{seen + '...'!r} (caller {caller_hash(reply_to)})"
