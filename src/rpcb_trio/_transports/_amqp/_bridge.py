"""trio-asyncio, imported without what its import does to the rest of the process."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # Python 3.12 and 3.13 complain of a class that it derives from, and that is not used here.
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio  # type: ignore[import-untyped] # it carries no types

__all__ = ["trio_asyncio"]


def _leave_asyncio_programs_alone() -> None:
    """Undo for everyone else what importing trio-asyncio does.

    Once imported, it gives each asyncio program of this process (outside trio) one of its own, slower loops,
    except in a thread that has set a policy; so all threads get the policy that was there before as set.
    """
    policies = getattr(trio_asyncio._loop, "_FakedPolicy", None)  # noqa: SLF001 - there is no other way
    before = getattr(trio_asyncio._loop, "_original_policy", None)  # noqa: SLF001 - it is kept nowhere else
    if policies is not None and before is not None:
        policies.policy = before


_leave_asyncio_programs_alone()
