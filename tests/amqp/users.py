"""Users of a broker and their rights, as calls of its own functions: one `rabbitmqctl eval` takes several."""

from __future__ import annotations

from tests.rabbitmq import Broker

PASSWORD = "secret"  # noqa: S105 - as it says
ONLY_REPLY = ("^$", "^amq\\.default$", "^{queue}$")
"""To configure nothing, to write replies, to read the queue."""


async def tell(broker: Broker, *calls: str) -> None:
    """Call these functions of the broker's; with one `rabbitmqctl`, since each takes a second."""
    await broker.rabbitmqctl("eval", f"{', '.join(calls)}.")


async def only_reply(broker: Broker, queue: str) -> str:
    """The URL of a user, named as a queue, who may read it and reply, and nothing else.

    The user is not deleted: a broker with `rabbitmqctl` is private, and ends with the tests.
    """
    return await user_with(broker, queue, *(each.format(queue=queue) for each in ONLY_REPLY))


async def user_with(broker: Broker, user: str, configure: str, write: str, read: str) -> str:
    """The URL of a new user with these rights."""
    await tell(broker, add_user(user), permit(user, configure, write, read))
    return url_of(broker, user)


def url_of(broker: Broker, user: str, password: str = PASSWORD) -> str:
    return broker.url.replace("guest:guest", f"{user}:{password}")


def add_user(name: str, password: str = PASSWORD) -> str:
    return f"rabbit_auth_backend_internal:add_user({b(name)}, {b(password)}, {b('test')})"


def permit(user: str, configure: str = ".*", write: str = ".*", read: str = ".*", vhost: str = "/") -> str:
    rights = ", ".join(b(each) for each in (user, vhost, configure, write, read, "test"))
    return f"rabbit_auth_backend_internal:set_permissions({rights})"


def set_limits(user: str, limits: str) -> str:
    return f"rabbit_auth_backend_internal:set_user_limits({b(user)}, {b(limits)}, {b('test')})"


def await_no_connection_of(user: str) -> str:
    """Wait until the broker has done with this user's connections: it counts them until then."""
    count = f"rabbit_connection_tracking:count_tracked_items_in({{user, {b(user)}}})"
    return f"(fun Wait() -> case {count} of 0 -> ok; _ -> timer:sleep(20), Wait() end end)()"


def b(text: str) -> str:
    """Text as Erlang writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'
