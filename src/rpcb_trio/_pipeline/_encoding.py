"""Encode: from outcomes to replies; the hooks are called so that each request fails alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rpcb_trio._claims import CLAIM_HEADER, NO_CLAIMS, Claim, Claims
from rpcb_trio._guard import exact_bytes, judge_encode, judge_infer, outcomes_of
from rpcb_trio._messages import (
    END_HEADER,
    ERROR_HEADER,
    KIND_HEADER,
    MODEL_VERSION_HEADER,
    NO_HEADERS,
    REASON_HEADER,
    Answer,
    Failure,
    Outcome,
    Reply,
    Request,
    Success,
)
from rpcb_trio._pipeline._hooks import Hooks
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._service import BoundService
from rpcb_trio._shown import shown
from rpcb_trio._typed import Typed
from rpcb_trio.errors import HookTimeout, KilledWorker, OutcomeError, ReplyTooBig

log = logging.getLogger("rpcb_trio")


class Encoding:
    """Calls the hooks `join` and `encode` of one service.

    Args:
        service: whose they are.
        hooks: runs them.
        version: of the service, for the replies' headers; None for none.
        journal: is told which requests they run for.
        claims: the stores that a large reply may be put in.
    """

    def __init__(
        self,
        service: BoundService,
        hooks: Hooks,
        *,
        version: str | None = None,
        journal: Journal | None = None,
        claims: Claims = NO_CLAIMS,
    ) -> None:
        self.version = version
        self.headers: Mapping[str, object] = (
            NO_HEADERS if version is None else {MODEL_VERSION_HEADER: version}
        )
        """Of each reply."""
        typed = service.typed or Typed()
        self.has_encode: bool = service.encode is not None or typed.writes
        """Whether replies are encoded, by a hook or by their types; else it takes no time."""
        self._service = service
        self._typed = typed
        self._writes = typed.writes
        self._hooks = hooks
        self._journal = journal or Journal()
        self._claims = claims
        self._has_claims = bool(claims)

    def following(self, service: BoundService, version: str | None) -> Encoding:
        """That of the service which takes the place of this one."""
        return Encoding(
            service,
            self._hooks,
            version=version,
            journal=self._journal,
            claims=self._claims,
        )

    async def join(self, request: Request, results: list[Any]) -> Outcome[Any]:
        """Make one result of those of a request's pieces; without the hook `join`, the list of them."""
        hook = self._service.join
        if hook is None:
            return Success(results)

        def join() -> Outcome[Any]:
            with self._journal.running([request]):
                try:
                    return outcomes_of([hook(results)], 1)[0]
                except BaseException as error:  # noqa: BLE001 - it fails this request alone
                    return Failure(judge_infer(error))

        try:
            async with self._journal.turn([request]):
                return await self._hooks.run(join, "join")
        except HookTimeout as error:
            return Failure(error)

    async def encode(
        self, resolved: Sequence[Resolved], max_size: int | None = None, *, has_turn: bool = False
    ) -> list[Answer]:
        """Encode outcomes into replies that carry their request's own correlation id.

        A body of more than `max_size` bytes is put where its caller takes it from, or becomes an error.
        `has_turn` says that they have their turn in the journal already.
        """
        if not (self.has_encode or self._has_claims):  # it takes no time, so it needs no thread
            return [self._encode(each, max_size) for each in resolved]
        answers: list[Answer] = []
        if has_turn:
            while len(answers) < len(resolved):
                answers += await self._encode_in_time(resolved[len(answers) :], max_size)
            return answers
        for together in self._in_turns(resolved):
            async with self._journal.turn([each.request for each in together]):
                while together:
                    encoded = await self._encode_in_time(together, max_size)
                    answers += encoded
                    together = together[len(encoded) :]  # noqa: PLW2901 - what is left of it
        return answers

    async def put(self, answer: Answer, max_size: int) -> Answer | None:
        """The answer with a claim to its reply; None where that is no larger, or its caller takes none."""
        request, reply = answer.request, answer.reply
        if reply is None or len(reply.body) <= max_size or not self._claims.takes_reply(request):
            return None
        try:
            put = await self._hooks.run(lambda: self._claims.put(request, reply.body), "encode")
        except HookTimeout:
            return None
        if not isinstance(put, Claim):
            return None
        headers = {**reply.headers, CLAIM_HEADER: put.header}
        claimed = msgspec.structs.replace(reply, body=b"", headers=headers)
        return Answer(request, claimed, answer.error, answer.dead_letter)

    def end(self, request: Request, headers: Mapping[str, object]) -> Answer:
        """The last message of a reply in parts that has come to its end."""
        reply = Reply(
            body=b"",
            correlation_id=request.correlation_id,
            headers={**self.headers, **headers, END_HEADER: True},
            content_type=self._service.content_type,
        )
        return Answer(request, reply)

    def _in_turns(self, resolved: Sequence[Resolved]) -> list[list[Resolved]]:
        """Divide these into those that may be encoded together; a suspect is encoded alone."""
        suspects = [each for each in resolved if self._journal.is_suspect(each.request)]
        others = [each for each in resolved if each not in suspects] if suspects else list(resolved)
        return [*([others] if others else []), *([each] for each in suspects)]

    async def _encode_in_time(self, resolved: Sequence[Resolved], max_size: int | None) -> list[Answer]:
        """Encode as many as the time allows, in order: at least the first, if only as an error."""
        encoded: list[Answer] = []
        is_cut = False

        def encode() -> None:
            with self._journal.running([each.request for each in resolved]):
                for each in resolved:
                    if is_cut:
                        break
                    encoded.append(self._encode(each, max_size))

        try:
            await self._hooks.run(encode, "encode")
        except HookTimeout as error:
            is_cut = True
            # Where others were encoded first, the next one has had less than its time; it gets a new call.
            return encoded[: len(resolved)] or [self._error_answer(resolved[0], error)]
        return encoded

    def _error_answer(self, resolved: Resolved, error: OutcomeError) -> Answer:
        """An error without the service's `encode`: in plain text, or as typed services have it."""
        failure = Failure(error)
        return self._answer(resolved, failure, self._plain_body(resolved.request, failure))

    def _encode(self, resolved: Resolved, max_size: int | None) -> Answer:
        outcome, request = resolved.outcome, resolved.request
        body = self._body(request, outcome, max_size, may_put=self._has_claims)
        if isinstance(body, Claim):
            headers = {**resolved.headers, CLAIM_HEADER: body.header}
            return self._answer(msgspec.structs.replace(resolved, headers=headers), outcome, b"")
        if isinstance(body, OutcomeError):
            outcome = Failure(body) if isinstance(outcome, Success) else outcome
            body = self._error_body(request, outcome, max_size)
        return self._answer(resolved, outcome, body)

    def _answer(self, resolved: Resolved, outcome: Outcome[Any], body: bytes) -> Answer:
        request, service = resolved.request, self._service
        headers = {**self.headers, **resolved.headers} if resolved.headers else self.headers
        if isinstance(outcome, Failure):
            headers = {**headers, **_headers_of(outcome.error)}
        reply = Reply(
            body=body,
            correlation_id=request.correlation_id,
            headers=headers,
            content_type=self._content_type_of(request, outcome) if self._writes else service.content_type,
        )
        if isinstance(outcome, Success):
            return Answer(request, reply)
        dead_letter = str(outcome.error) if isinstance(outcome.error, KilledWorker) else None
        return Answer(request, reply, outcome.error, dead_letter)

    def _content_type_of(self, request: Request, outcome: Outcome[Any]) -> str:
        return self._typed.content_type_of(outcome, request.content_type) or self._service.content_type

    def _plain_body(self, request: Request, outcome: Outcome[Any]) -> Any:
        """The body where no hook makes it."""
        if self._writes:
            return self._typed.write(_as_raised(outcome), request.content_type)
        return plain_body(outcome)

    def _body(
        self, request: Request, outcome: Outcome[Any], max_size: int | None, *, may_put: bool = False
    ) -> bytes | Claim | OutcomeError:
        """The body for an outcome, or why there is none; or a claim to it, where its caller takes one."""
        error = outcome.error if isinstance(outcome, Failure) else None
        encode = self._service.encode
        if isinstance(error, KilledWorker) and not error.encodable:
            encode = None
        try:
            body = exact_bytes(
                self._plain_body(request, outcome) if encode is None else encode(_as_raised(outcome))
            )
        except BaseException as failed:  # noqa: BLE001 - a bad result fails alone, whatever encode raises
            return judge_encode(failed, outcome.value if isinstance(outcome, Success) else None)
        if max_size is None or len(body) <= max_size:
            return body
        if may_put and self._claims.takes_reply(request):
            return self._claims.put(request, body)
        return ReplyTooBig(f"the reply has {len(body)} bytes, and {max_size} are allowed (max_reply_size)")

    def _error_body(self, request: Request, failure: Failure, max_size: int | None) -> bytes:
        """The body of an error reply; where `encode` fails at that too, it is plain text."""
        body = self._body(request, failure, max_size)
        if not isinstance(body, OutcomeError):
            assert isinstance(body, bytes)  # noqa: S101 - for the type checker: it was not to be put
            return body
        log.warning(
            "encode failed at the error %s (%s), so the error reply is plain text: %s",
            failure.error.code,
            shown(str(failure.error)),
            body.in_full,
        )
        return plain_body(failure)


def plain_body(outcome: Outcome[Any]) -> bytes:
    """The `encode` of services without one: a result as it is, an error as one line of UTF-8 text.

    Raises:
        TypeError: the result is not bytes.
    """
    if isinstance(outcome, Failure):
        return f"{outcome.error.code}: {outcome.error}".encode(errors="backslashreplace")
    return exact_bytes(outcome.value)


def _as_raised(outcome: Outcome[Any]) -> Outcome[Any]:
    """The outcome for a service's own `encode`: with the service's own error, where it raised one."""
    if isinstance(outcome, Failure) and outcome.error.own is not None:
        return Failure(outcome.error.own)
    return outcome


def _headers_of(error: OutcomeError) -> Mapping[str, object]:
    return {ERROR_HEADER: error.code, KIND_HEADER: error.kind, REASON_HEADER: shown(str(error))}
