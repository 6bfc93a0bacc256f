"""The models of a worker, one after another.

A swap, in steps:

1. The next service is made, and warms up in executors of its own, while the present one serves.
2. From one moment on requests are decoded, computed and encoded by the next one. A batch that has begun ends
   where it began. A request that the former one has decoded, and that still waits, is decoded anew once its
   batch is closed: no batch has items of two services, and what is redelivered is treated alike. The policy
   forgets its service times.
3. Once the last batch of the former one is encoded, that one is closed.

Where there is no room for two, step 3 comes first. Until the next one is warm, nothing is decoded or
computed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from anyio.abc import TaskGroup

from rpcb_trio._executors import Closable, Executor
from rpcb_trio._guard import warming_up
from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._hooks import Offload
from rpcb_trio._service import BoundService, bind, check_version, name_of
from rpcb_trio.errors import SettingError, SwapInterrupted


class _Swap:
    """One swap that was asked for."""

    def __init__(
        self,
        service: Any,
        version: str | None,
        executors: Sequence[Executor] | None,
        *,
        unload_first: bool,
    ) -> None:
        self.unload_first = unload_first
        self.service = service
        self.version = version
        self.executors = executors
        self.scope = trio.CancelScope()
        self.error: Exception | None = None
        self.over = trio.Event()


class Generations:
    """The present service of a worker, and how the next one takes its place.

    Args:
        first: the one that the worker starts with.
        make_executors: makes them for a service; None where those of the worker were given to it.
        instruments: are told.
        offload: makes a service, where it is a class.
        warm_up_timeout: seconds.
    """

    def __init__(
        self,
        first: Generation,
        *,
        make_executors: Callable[[BoundService], Sequence[Executor]] | None,
        instruments: Instruments,
        offload: Offload,
        warm_up_timeout: float,
    ) -> None:
        self.current: Generation = first
        self._make_executors = make_executors
        self._instruments = instruments
        self._offload = offload
        self._warm_up_timeout = warm_up_timeout
        self._former: Generation | None = None
        """Is to be closed."""
        self._one_at_a_time = trio.Lock()
        self._revocable = set[_Swap]()
        self._ends = self._has_ended = False
        self._loaded: trio.Event | None = None
        """Is set once a model is loaded again; None while one is."""
        self._loading = trio.CancelScope()
        """Of the last swap that had unloaded a model and loads another one."""
        self._nursery: TaskGroup

    async def serving(self) -> Generation:
        """The present one, as soon as its model is loaded."""
        while self._loaded is not None:
            await self._loaded.wait()
        return self.current

    async def batching(self) -> Generation:
        """The one whose executor the next batch is for.

        A worker that drains does not wait for a model here: nothing may be left that needs one.
        """
        while self._loaded is not None and not self._ends:
            await self._loaded.wait()
        return self.current

    def session_ended(self) -> None:
        """Note that nothing of a session needs a service any more."""
        for each in (self._former, self.current):
            if each is not None:
                each.uses.clear()

    def change(self, *, max_body_size: int | None) -> None:
        """Have another setting, the generations to come as well."""
        for each in (self._former, self.current):
            if each is not None:
                each.decoding.max_body_size = max_body_size

    @asynccontextmanager
    async def opened(self, forget: Callable[[], None]) -> AsyncIterator[None]:
        """Swap when asked to, within the body. After it the former one is closed.

        `forget` is called with each swap; what batches take is to be learned anew.
        """
        self._forget = forget
        async with open_serving_nursery() as self._nursery:
            try:
                yield
            finally:
                self.drain()
                self._has_ended = True  # nobody waits for a model any more
                self._loading.cancel()

    def drain(self) -> None:
        """Give up all swaps, unless one has unloaded the model, without which nothing is answered."""
        self._ends = True
        if self._loaded is not None:  # see `batching`
            loaded, self._loaded = self._loaded, trio.Event()
            loaded.set()
        for each in self._revocable:
            each.scope.cancel()

    async def swap(
        self,
        service: Any,
        version: str | None,
        executors: Sequence[Executor] | None,
        *,
        unload_first: bool,
    ) -> None:
        """See `Worker.swap`."""
        self._check(version, executors)
        if self._ends:
            raise SwapInterrupted
        swap = _Swap(service, version, executors, unload_first=unload_first)
        del service, executors  # the former one's are to leave the memory at the next swap
        self._revocable.add(swap)
        self._nursery.start_soon(self._run, swap)
        try:
            await swap.over.wait()
        except trio.Cancelled:
            if swap in self._revocable:
                swap.scope.cancel()
            raise
        if swap.error is not None:
            raise swap.error

    def _check(self, version: str | None, executors: Sequence[Executor] | None) -> None:
        check_version("version", version)
        present = self.current.executors
        if executors is None:
            if self._make_executors is None:
                raise SettingError("this worker was given its executors, so give new ones (executors)")
        elif len(executors) != len(present):
            raise SettingError(
                f"executors has {len(executors)} executor(s), and the worker has {len(present)}; give as many"
            )
        elif any(each in present for each in executors):
            raise SettingError("executors has one that the worker uses already; give new ones")

    async def _run(self, swap: _Swap) -> None:
        swap.error = SwapInterrupted()  # until it is done
        try:
            with swap.scope:
                async with self._one_at_a_time:
                    await self._swap(swap)
                    swap.error = None
        except Exception as error:
            swap.error = error  # raised where the swap was asked for
            if self._loaded is not None:  # nothing is loaded any more
                raise
        finally:
            self._revocable.discard(swap)
            swap.over.set()

    async def _swap(self, swap: _Swap) -> None:
        former, version = self.current, swap.version
        try:
            if swap.unload_first:
                _refuse_what_stays_loaded(former)
            following = await self._made(swap)
            version = following.version
            self._instruments.notify(Instrument.swap_started, version)
            if swap.unload_first:
                await self._load_after(former, following, swap)
            else:
                await self._load(following, swap)
            self._forget()
            following.decoding.max_body_size = former.decoding.max_body_size  # it may have changed meanwhile
            self._former, self.current = former, following
        except SwapInterrupted:
            raise
        except Exception as error:
            self._instruments.notify(Instrument.swap_failed, version, error)
            raise
        self._instruments.notify(Instrument.model_swapped, version)
        if swap.unload_first:
            self._open()
        else:
            await former.uses.over()
            await former.close()
        self._former = None

    async def _made(self, swap: _Swap) -> Generation:
        bound = await self._offload(lambda: _bound(swap.service))
        if self.current.closes_with(bound):
            raise SettingError(
                f"{bound.name} is the object that serves already; give a new one, or its class"
            )
        version = bound.version if swap.version is None else swap.version
        executors = swap.executors
        if executors is None:
            assert self._make_executors is not None  # noqa: S101 - for the type checker
            executors = self._make_executors(bound)
        return self.current.following(bound, version, executors)

    async def _load(self, generation: Generation, swap: _Swap) -> None:
        """Load it for good: from here on the swap can't be given up."""
        try:
            await generation.warm_up(self._warm_up_timeout)
            if not swap.unload_first:
                self._make_irrevocable(swap)
        except BaseException:
            await generation.close()
            raise

    async def _load_after(self, former: Generation, following: Generation, swap: _Swap) -> None:
        """Load one after the other is unloaded; where that fails, load the other again.

        Raises:
            RpcbError: it could not be loaded; where neither could, nothing is `_loaded`.
        """
        self._make_irrevocable(swap)
        self._loaded = trio.Event()
        await former.uses.over()
        await former.close()
        self._loading = swap.scope
        if self._has_ended:
            swap.scope.cancel()
        try:
            await self._load(following, swap)
        except Exception:
            await former.warm_up(self._warm_up_timeout)
            self._open()
            raise

    def _open(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.set()

    def _make_irrevocable(self, swap: _Swap) -> None:
        if swap.scope.cancel_called:
            raise SwapInterrupted
        self._revocable.discard(swap)


def _bound(service: Any) -> BoundService:
    with warming_up(name_of(service), "__init__"):
        return bind(service)


def _refuse_what_stays_loaded(generation: Generation) -> None:
    for executor in generation.executors:
        if not isinstance(executor, Closable) or not executor.frees:
            raise SettingError(
                "unload_first needs a model that can be unloaded: give its service the hook close, which "
                "frees what warm_up has loaded, or run it in a process executor"
            )
