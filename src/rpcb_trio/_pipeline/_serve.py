"""`serve`: a service behind a queue, from its settings to its end."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import trio

from rpcb_trio._batching import AutoPolicy, Policy
from rpcb_trio._cache import Cache
from rpcb_trio._claims import CLAIMS_KEPT, Claims
from rpcb_trio._executors import WARM_UP_TIMEOUT, Executor, executor_of
from rpcb_trio._instruments import Instrument, Instruments, LogInstrument, tracing_if_on
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._pipeline._answering import Answering
from rpcb_trio._pipeline._cancels import Cancels
from rpcb_trio._pipeline._checks import MAX_BODY_SIZE, check_numbers
from rpcb_trio._pipeline._content_cache import ContentCache
from rpcb_trio._pipeline._decoding import Decoding
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._generations import Generations
from rpcb_trio._pipeline._hooks import HOOK_TIMEOUT, Hooks, Offload, in_thread
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._live import LiveSettings, checked_intake_of
from rpcb_trio._pipeline._pipeline import Pipeline
from rpcb_trio._pipeline._remembered import RememberedReplies
from rpcb_trio._pipeline._worker import Worker, WorkerLoop
from rpcb_trio._service import AnyService, BoundService, bind, check_version
from rpcb_trio._shares import Shares
from rpcb_trio._transports import Topology, Transport, as_transport, server_of
from rpcb_trio.errors import SettingError

P = ParamSpec("P")
ReturnT = TypeVar("ReturnT")


async def serve(
    service: AnyService,
    transport: Transport | str,
    queue: Topology | str,
    *,
    batching: Policy | None = None,
    prefetch: int | None = None,
    prefetch_follows: bool = True,
    max_pending: int | None = None,
    shares: Shares | None = None,
    expired: Literal["answer", "drop"] = "answer",
    no_reply_to: Literal["run", "dead-letter"] = "run",
    max_body_size: int | None = MAX_BODY_SIZE,
    max_reply_size: int | None = None,
    claims: Sequence[str] = (),
    claims_kept: float = CLAIMS_KEPT,
    check_caller: bool = False,
    remember_replies: int = 0,
    cache: Cache | None = None,
    replicas: int = 1,
    devices: Sequence[str] = (),
    executors: Sequence[Executor] | None = None,
    model_version: str | None = None,
    infer_timeout: float | None = None,
    hook_timeout: float = HOOK_TIMEOUT,
    warm_up_timeout: float = WARM_UP_TIMEOUT,
    journal: Path | str | None = None,
    journal_required: bool = True,
    max_deaths: int = 3,
    decode_threads: int = 2,
    offload: Offload | None = None,
    batch_headers: bool = False,
    drain_timeout: float = 30.0,
    instruments: Iterable[Instrument] | None = None,
    task_status: trio.TaskStatus[Worker] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the requests of a queue in batches, until `Worker.drain()` is called or the task is cancelled.

    `open_worker` runs it beside the body of an `async with`. In a nursery of your own, use it as
    `worker = await nursery.start(serve, service, transport, queue)`. It is started once the models are warm
    and the queue is consumed. After that a lost broker is not an error: the session is rebuilt, with backoff,
    while the models stay loaded. Cancelled, it leaves what is held unacked, so that the broker redelivers it.

    Args:
        service: a `Service`, a class of one, a plain function from `list[bytes]` to `list[bytes]`, or one
            whose annotations say what it takes and returns (`list[Text]` to `list[Label]`).
        transport: an AMQP URL, or a transport such as a `MemoryBroker`.
        queue: the queue's name, or a `Topology` that also says what to declare.
        batching: the policy; `AutoPolicy()` if left out. Each worker needs an object of its own: it learns.
        prefetch: how many requests may be held unacked; this bounds the memory. By default the least that
            keeps all executors busy, `max_batch_size * (executors + 1)`; with `max_pending` also enough that
            one more is delivered while so many wait and all batches are full.
        prefetch_follows: whether no more is asked for than the next batches need, up to the prefetch, while
            other workers consume the queue: then a worker which computes holds nothing that another one would
            do sooner. It has no effect with `max_pending`, with `shares`, with a policy that has no `demand`,
            and where the queue has a single active consumer.
        max_pending: how many decoded requests may wait for a batch; further ones are refused at once, with
            the error `overloaded`. None: only the prefetch bounds them, and the rest wait at the broker; with
            `shares` it is 8 batches.
        shares: whose requests they are, so that tenants share the worker fairly. Where `max_pending` wait, a
            request is refused only if its tenant has its share of them already; else the last one of the
            tenant with the most waiting is. None: all requests are alike.
        expired: what to do with a request that expires before it is computed: `answer` it with an error, or
            `drop` it without a reply.
        no_reply_to: what to do with a request that has no reply_to: `run` it and drop the result, or send it
            to the dead letters (`dead-letter`) without computing it.
        max_body_size: bytes of the largest body that is decoded, unpacked where its `content_encoding` is
            gzip or deflate; a larger one is refused with the error `too-big`. None for the broker's limit.
        max_reply_size: bytes of the largest reply; a larger one becomes the error `reply-too-big`. None for
            the broker's limit: by default 128 MiB up to RabbitMQ 3.13 and 16 MiB from 4.0 on.
        claims: stores, each a directory or a URL for fsspec: a request may claim that its body is there, and
            a reply that is too large is put there where its caller takes it from there. A body elsewhere is
            never fetched.
        claims_kept: seconds after which a body that is still in a store is removed. Until then its request
            may be delivered again.
        check_caller: whether to ask the broker, before a request is computed, if its direct reply-to address
            still leads to a caller, and to drop the request if not. It costs a round trip for each new
            address, and again after some seconds.
        remember_replies: how many of the last replies to keep (in 64 MiB at most), to answer a request that
            comes again (same reply_to, correlation_id and body) without computing it again.
        cache: how long the reply to a request answers equal ones, of any caller, without computing them. It
            takes the place of the service's attribute `cache`, whose headers count as well; None for that.
        replicas: how many executors compute at once, each in a thread of its own; or, where `infer` is async,
            each as a task.
        devices: torch devices for the replicas, in turn (`cuda:0`, `cuda:1`).
        executors: executors of your own, instead of `replicas` and `devices`.
        model_version: of the model, for the header `rpcb-model-version` of replies, metrics, events and the
            log, in the place of the service's attribute `version`. Without either there is no such header.
        infer_timeout: seconds that one run of `infer`, or one step of `stream_infer`, may take; None for 10
            minutes, infinity for any time. Choose several times what the largest batch takes on a bad day. A
            thread that takes longer can't be killed: what has not started is requeued, and `serve` raises.
        hook_timeout: seconds that `decode` with `cost`, or `encode`, may take for one request; infinity for
            any time. A request that takes longer gets the error `hook-timeout`, and its thread is left to
            run; when more than 8 are left so, `serve` raises.
        warm_up_timeout: seconds that warming up may take; infinity for any time.
        journal: a directory that records which requests a worker runs, so that those that kill their worker
            are found out. The workers of a machine share it; it takes some kilobytes for each. It must not be
            a symbolic link, nor writable by everybody.
        journal_required: whether it is an error if that directory can't be used. If not, one line in the log
            says that there is no journal.
        max_deaths: how many workers must have died while they ran one request, and nothing else, until it is
            not run any more: it goes to the dead letters, and its caller gets the error `killed-worker`.
        decode_threads: how many threads decode and encode; only for services with these hooks.
        offload: runs decode and encode, instead of those threads.
        batch_headers: whether a reply says in which batch its request was: the headers `rpcb-batch` (its id),
            `rpcb-batch-size`, and `rpcb-wait` (milliseconds from the arrival until the batch was closed).
        drain_timeout: seconds from `drain()` until the worker ends, though requests are unanswered.
        instruments: hooks on the pipeline's events; if left out a `LogInstrument`, and a `TracingInstrument`
            where an SDK of OpenTelemetry is set up.
        task_status: started with the `Worker`.

    Raises:
        SettingError: a setting is wrong, or the event loop is not trio's; nothing was started.
        LoginRefused, TopologyMismatch, SessionLost: the first session could not be opened.
        WarmUpFailed: the service's `warm_up` or `on_device` raised, or took too long.
        ExecutorLost: the process of a `ProcessExecutor` died while it warmed up.
        DrainTimeout: the drain took too long; the requests that were left are redelivered.
        ExecutorHung: `infer` took too long. What was computed is answered, the rest is redelivered; the
            thread is abandoned, and ends when `infer` does. Or too many threads hang in other hooks: all that
            was held is redelivered.
    """
    _refuse_other_loops()
    topology = queue if isinstance(queue, Topology) else Topology(queue=queue)
    transport = as_transport(transport)
    bound = bind(service)
    del service  # so that nothing here keeps a model that was swapped
    check_version("model_version", model_version)
    live = LiveSettings(
        batching=AutoPolicy() if batching is None else batching,
        prefetch=prefetch,
        prefetch_follows=prefetch_follows,
        max_pending=max_pending,
        shares=shares,
        expired=expired,
        no_reply_to=no_reply_to,
        max_body_size=max_body_size,
        max_reply_size=max_reply_size,
        check_caller=check_caller,
        remember_replies=remember_replies,
        cache=cache,
        hook_timeout=hook_timeout,
        batch_headers=batch_headers,
        drain_timeout=drain_timeout,
    )
    check_numbers(
        replicas=replicas,
        infer_timeout=infer_timeout,
        warm_up_timeout=warm_up_timeout,
        decode_threads=decode_threads,
        max_deaths=max_deaths,
        claims_kept=claims_kept,
    )
    make_executors = None
    if executors is None:
        make_executors = partial(
            _executors_for, replicas=replicas, devices=devices, infer_timeout=infer_timeout
        )
        executors = make_executors(bound)
    elif infer_timeout is not None:
        raise SettingError("infer_timeout is for the executors that serve makes; give it to your own instead")
    check_numbers(executors=len(executors))
    offload = offload or in_thread
    stores = Claims(claims, kept=claims_kept, offload=offload)
    death_journal = Journal(max_deaths)
    hooks = Hooks(offload, most=decode_threads, timeout=hook_timeout)
    version = bound.version if model_version is None else model_version
    first = Generation(
        service=bound,
        decoding=Decoding(bound, hooks, max_body_size=max_body_size, journal=death_journal, claims=stores),
        encoding=Encoding(bound, hooks, version=version, journal=death_journal, claims=stores),
        executors=executors,
    )
    del bound
    if isinstance(instruments, Instrument):
        raise SettingError("instruments is a single one; give a list of them")
    if instruments is None:
        instruments = [*tracing_if_on(), LogInstrument(topology.queue)]
    notified = Instruments(instruments)
    prefetch, max_pending = checked_intake_of(live, len(executors))
    ledger, cancels = Ledger(), Cancels(is_on=topology.cancel)
    generations = Generations(
        first,
        make_executors=make_executors,
        instruments=notified,
        offload=offload,
        warm_up_timeout=warm_up_timeout,
    )
    pipeline = Pipeline(
        generations=generations,
        hooks=hooks,
        decode_threads=decode_threads,
        live=live,
        prefetch=prefetch,
        max_pending=max_pending,
        answering=Answering(
            generations=generations,
            remembered=RememberedReplies(remember_replies, offload),
            drop_expired=expired == "drop",
            max_reply_size=max_reply_size,
            instruments=notified,
            ledger=ledger,
            claims=stores,
            cancels=cancels,
        ),
        ledger=ledger,
        cancels=cancels,
        instruments=notified,
        journal=death_journal,
        contents=ContentCache(offload, cache),
        server=server_of(transport),
        may_follow=not topology.arguments.get("x-single-active-consumer"),
    )
    del first, executors
    loop = WorkerLoop(pipeline, transport, topology, task_status=task_status)
    setup = pipeline.setup(topology)
    notified.notify(Instrument.worker_starting, setup)
    try:
        async with (
            nullcontext()
            if journal is None
            else death_journal.opened(journal, topology.queue, offload, required=journal_required)
        ):
            await stores.open()
            await generations.current.warm_up(warm_up_timeout)
            async with generations.opened(pipeline.forget), _sweeping(stores):
                await loop.run(setup)
    finally:
        notified.notify(Instrument.worker_stopped, len(ledger))


@asynccontextmanager
async def _sweeping(stores: Claims) -> AsyncIterator[None]:
    """Remove what is left over in the stores, beside the body of an `async with`."""
    if not stores:
        yield
        return
    async with open_serving_nursery() as nursery:
        nursery.start_soon(stores.sweep_for_ever)
        yield
        nursery.cancel_scope.cancel()


def _with_the_settings_of(
    origin: Callable[P, object],
) -> Callable[[Callable[..., ReturnT]], Callable[P, ReturnT]]:
    """Give a function the parameters of another, for type checkers and for `help`."""

    def declare(function: Callable[..., ReturnT]) -> Callable[P, ReturnT]:
        signature = inspect.signature(origin)
        settings = [each for name, each in signature.parameters.items() if name != "task_status"]
        given = inspect.signature(function).return_annotation
        function.__signature__ = signature.replace(parameters=settings, return_annotation=given)  # type: ignore[attr-defined] # as PEP 362 has it
        return function

    return declare


@_with_the_settings_of(serve)
@asynccontextmanager
async def open_worker(*args: Any, **settings: Any) -> AsyncIterator[Worker]:
    """Serve beside the body of an `async with`; it takes what `serve` takes.

        async with open_worker(service, "amqp://guest:guest@localhost/", "work") as worker:
            ...

    Entering returns once the models are warm and the queue is consumed. Leaving drains the worker and returns
    when it has ended. An error of the body, or a cancellation, ends the worker at once; the broker redelivers
    what it held. An error of the worker cancels the body, whatever that waits for, and is raised.

    Raises:
        SettingError, WarmUpFailed, DrainTimeout, ...: as `serve`; never in an exception group where it is the
            only one.
    """
    _refuse_other_loops()
    async with open_serving_nursery() as nursery:
        start = partial(serve, *args, **settings)
        del args, settings  # so that nothing here keeps a model that was swapped
        worker: Worker = await nursery.start(start)
        del start
        yield worker
        worker.drain()


def _refuse_other_loops() -> None:
    if not trio.lowlevel.in_trio_run():
        raise SettingError(
            "a worker needs trio's event loop, which is not running here; start it with trio.run(...) in a "
            "thread or a process of its own, or with python -m rpcb_trio serve"
        )


def _executors_for(
    service: BoundService, replicas: int, devices: Sequence[str], infer_timeout: float | None
) -> list[Executor]:
    if isinstance(devices, str):
        raise SettingError(f"devices is {devices!r}; give a list of them, as [{devices!r}]")
    return [
        executor_of(
            service,
            device=devices[number % len(devices)] if devices else None,
            name=f"{service.name}-{number}",
            infer_timeout=infer_timeout,
        )
        for number in range(max(replicas, len(devices)))
    ]
