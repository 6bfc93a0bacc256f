"""Jobs over HTTP: submitted, asked for, watched, deleted; kept within bounds; told of by webhooks."""

from __future__ import annotations

import base64
import errno
import json
import logging
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from rpcb_trio import FixedPolicy, MemoryBroker, RequestError, SettingError, Topology, open_client
from rpcb_trio._client import deposit
from rpcb_trio._files import Files
from rpcb_trio._gateway import _webhooks
from rpcb_trio._gateway._job_store import ID, JobStore
from rpcb_trio._messages import Outgoing
from rpcb_trio.errors import first_leaf
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.instruments import Settled
from tests.gateway.fronts import Front, Gateway, asking, echo, front, one_by_one
from tests.metrics.samples import value
from tests.scenarios import Shouting, working

ROUTES: dict[str, Any] = {
    "shout": {"queue": "shout", "form": {"text": "text"}, "answer": "said"},
    "bytes": {"queue": "bytes", "priority": 5},
    "bad": {"queue": "bad", "form": {"text": "text"}},
    "both": {"parts": {"one": {"route": "shout"}}, "form": {"text": "text"}},
}
PATIENCE = 30.0

SHOUT = one_by_one(lambda body: {"said": body["text"].upper()})


def bad(_: list[bytes]) -> list[bytes | Exception]:
    """A service whose every request is at fault."""
    return [RequestError("there is nothing to say")]


def names_in(place: Path) -> set[str]:
    """Of its files."""
    return {path.name for path in place.iterdir()}


class Pretty:
    """Answers in JSON of several lines."""

    content_type = "application/json"

    def __init__(self, said: object) -> None:
        self._said = said

    def infer(self, bodies: list[bytes]) -> list[bytes]:
        return [json.dumps(self._said, indent=1).encode()] * len(bodies)


@asynccontextmanager
async def jobs(place: Path | str, **options: Any) -> AsyncIterator[Front]:
    """A gateway with jobs; `slow` has a queue, and nobody who answers."""
    routes = {**ROUTES, "slow": {"queue": "slow"}}
    given = GatewayOptions(**{"jobs": str(place), "public_url": "https://x.example", **options})
    with trio.fail_after(PATIENCE):
        async with front(routes, given, shout=SHOUT, bytes=echo, bad=bad, slow=None) as gateway:
            yield gateway


async def ended(gateway: Front, job: str) -> dict[str, Any]:
    """What a client is told of a job that is done, as its last event."""
    events = (await gateway.http.get(f"/jobs/{job}/events")).text.split("\n\n")
    *_, last = (event for event in events if event.startswith("event: "))
    kind, data = last.removeprefix("event: ").split("\ndata: ")
    told: dict[str, Any] = json.loads(data)
    assert kind == told["status"]
    return told


async def test_an_answer_of_several_lines_is_one_event(tmp_path: Path) -> None:
    said = {"a": [1, 2]}
    async with front({}, GatewayOptions(jobs=str(tmp_path), rpc=("pretty",)), pretty=Pretty(said)) as gateway:
        job = (await gateway.http.post("/jobs/pretty")).json()["id"]
        events = (await gateway.http.get(f"/jobs/{job}/events")).text.split("\n\n")
    kind, *data = events[-2].splitlines()
    assert kind == "event: done"
    assert all(line.startswith("data: ") for line in data)
    assert json.loads("\n".join(line.removeprefix("data: ") for line in data))["result"] == said


async def test_the_log_of_requests_shows_no_id_of_a_job_and_no_name_of_a_file_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    name = "n" * 43
    async with jobs(tmp_path) as gateway:
        job = (await gateway.http.post("/jobs/bytes", content=b"x")).json()["id"]
        await ended(gateway, job)
        await gateway.http.get(f"/jobs/{job}/result")
        await gateway.http.get(f"/files/{name}")
    lines = [each for each in caplog.records if "path" in vars(each)]
    assert f"/jobs/{job[:12]}.../result" in {vars(each)["path"] for each in lines}
    assert not any(secret in each.getMessage() for each in lines for secret in (job, name))


async def test_a_job_is_accepted_at_once_watched_and_its_result_is_as_the_route_s_own(tmp_path: Path) -> None:
    async with jobs(tmp_path) as gateway:
        accepted = await gateway.http.post("/jobs/shout", json={"text": "hello"})
        own = await gateway.http.post("/shout", json={"text": "hello"})
        head = accepted.json()
        job = head["id"]
        told = await ended(gateway, job)
        asked = await gateway.http.get(f"/jobs/{job}")
        result = await gateway.http.get(f"/jobs/{job}/result")
    assert accepted.status_code == 202
    assert accepted.headers["location"] == head["url"] == f"https://x.example/jobs/{job}"
    assert (head["name"], head["status"]) == ("shout", "queued")
    assert ID.fullmatch(job)
    assert (
        asked.json()
        == told
        == {
            **head,
            "status": "done",
            "result": "HELLO",
            "finished": told["finished"],
            "result_url": f"https://x.example/jobs/{job}/result",
        }
    )
    assert (result.status_code, result.json()) == (own.status_code, own.json()) == (200, "HELLO")


async def test_a_client_beyond_max_streams_gets_503_and_one_that_has_seen_the_end_makes_room(
    tmp_path: Path,
) -> None:
    async with jobs(tmp_path, max_streams=1) as gateway:
        job = (await gateway.http.post("/jobs/bytes", content=b"x")).json()["id"]
        assert [(await ended(gateway, job))["status"] for _ in range(3)] == ["done"] * 3
    async with jobs(tmp_path, max_streams=0) as gateway:
        refused = await gateway.http.get(f"/jobs/{job}/events")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "max_streams" in refused.json()["detail"]


async def test_bytes_go_in_and_come_out_and_the_status_has_the_url_alone(tmp_path: Path) -> None:
    async with jobs(tmp_path, rpc=("bytes*",)) as gateway:
        for name in ("bytes", "bytes"):
            accepted = await gateway.http.post(
                f"/jobs/{name}", content=b"\x00\xff", headers={"content-type": "audio/wav"}
            )
            told = await ended(gateway, accepted.json()["id"])
            result = await gateway.http.get(told["result_url"])
            assert "result" not in told
            assert (result.content, result.headers["x-content-type-options"]) == (b"\x00\xff", "nosniff")


async def test_an_error_reply_is_a_failed_job_with_the_route_s_problem(tmp_path: Path) -> None:
    async with jobs(tmp_path) as gateway:
        accepted = await gateway.http.post("/jobs/bad", json={"text": "x"})
        told = await ended(gateway, accepted.json()["id"])
        result = await gateway.http.get(told["result_url"])
    assert told["status"] == "failed"
    assert (told["problem"]["status"], told["problem"]["detail"]) == (400, "there is nothing to say")
    assert "result" not in told
    assert (result.status_code, result.json()["error"]) == (400, "request")


async def test_a_deleted_job_is_gone_for_all_who_ask_or_watch_and_its_late_reply_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with jobs(tmp_path) as gateway:
        job = (await gateway.http.post("/jobs/slow")).json()["id"]
        assert (await gateway.http.get(f"/jobs/{job}")).json()["status"] == "queued"
        assert (await gateway.http.get(f"/jobs/{job}/result")).status_code == 409
        assert (await gateway.http.delete(f"/jobs/{job}")).status_code == 204
        after = [
            await gateway.http.request(method, f"/jobs/{job}{below}")
            for method, below in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", ""))
        ]
        foreign = await gateway.http.delete(f"/jobs/{job}", headers={"origin": "https://evil.example"})
        inbox = (tmp_path / "inbox").read_text()
        late = Outgoing(body=b"late", exchange="", routing_key=inbox, correlation_id=job, reply_to="x")
        await deposit(gateway.client, late, 5)
        while "is dropped: nobody waits for it" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await trio.sleep(0.01)
    assert {(each.status_code, each.json()["error"]) for each in after} == {(404, "no-job")}
    assert foreign.status_code == 403
    assert names_in(tmp_path) == {"inbox"}


@pytest.mark.parametrize(
    ("path", "request_", "status", "error"),
    [
        ("/jobs/shout", {"json": {}}, 422, "form"),
        ("/jobs/shout", {"content": b"{", "headers": {"content-type": "text/css"}}, 415, "media-type"),
        ("/jobs/nowhere", {}, 404, "not-found"),
        ("/jobs/both", {"json": {"text": "x"}}, 404, "not-found"),
        ("/jobs/amq.gen-1", {}, 404, "not-found"),
        ("/jobs/gone", {}, 502, "unroutable"),
        ("/jobs/bytes", {"headers": {"origin": "https://evil.example"}}, 403, "origin"),
        ("/jobs/bytes", {"content": b"x" * 101}, 413, "too-big"),
        ("/jobs/bytes", {"headers": {"rpcb-callback-url": "https://a.example/"}}, 400, "callback"),
    ],
)
async def test_what_is_refused_is_no_job(
    path: str, request_: dict[str, Any], status: int, error: str, tmp_path: Path
) -> None:
    async with jobs(tmp_path, rpc=("gone", "amq.*"), max_upload=100) as gateway:
        refused = await gateway.http.post(path, **request_)
    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert names_in(tmp_path) == {"inbox"}


async def test_no_other_id_leads_anywhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    async with jobs(tmp_path) as gateway:
        for odd in ("secret", "inbox", "..%2fsecret", "%00", "f" * 40, "0" * 7 + "g" + "x" * 32):
            found = await gateway.http.get(f"/jobs/{odd}")
            assert found.json()["error"] in ("no-job", "method")


async def test_without_a_place_there_are_no_jobs(tmp_path: Path) -> None:
    async with front(ROUTES, shout=SHOUT, bytes=echo, bad=bad) as gateway:
        assert (await gateway.http.post("/jobs/shout", json={"text": "x"})).status_code == 404
        assert "/jobs/{name}" not in (await gateway.http.get("/openapi.json")).json()["paths"]


async def test_more_open_jobs_than_are_allowed_get_429_until_one_is_done_or_deleted(tmp_path: Path) -> None:
    async with jobs(tmp_path, jobs_max=2, retry_after=7) as gateway:
        first, _ = [(await gateway.http.post("/jobs/slow")).json()["id"] for _ in range(2)]
        refused = await gateway.http.post("/jobs/slow")
        await gateway.http.delete(f"/jobs/{first}")
        accepted = await gateway.http.post("/jobs/shout", json={"text": "x"})
        await ended(gateway, accepted.json()["id"])
        again = await gateway.http.post("/jobs/slow")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert "2 jobs wait for their replies, and jobs_max is 2" in refused.json()["detail"]
    assert (accepted.status_code, again.status_code) == (202, 202)


async def test_a_full_place_refuses_further_jobs_and_what_comes_nevertheless_costs_the_oldest_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    async with jobs(tmp_path, jobs_size=3500) as gateway:
        done = []
        for number in range(3):
            monkeypatch.setattr(time, "time", lambda number=number: float(now + number))
            accepted = await gateway.http.post("/jobs/bytes", content=b"x" * 1200)
            done.append(accepted.json()["id"])
            await ended(gateway, done[-1])
        found = [(await gateway.http.get(f"/jobs/{job}")).status_code for job in done]
        big = await gateway.http.post("/jobs/bytes", content=b"x" * 3600)
        await ended(gateway, big.json()["id"])
        refused = await gateway.http.post("/jobs/bytes")
        await gateway.http.delete(f"/jobs/{big.json()['id']}")
        again = await gateway.http.post("/jobs/bytes")
    assert found == [404, 200, 200]
    assert (refused.status_code, refused.json()["error"]) == (507, "jobs")
    assert again.status_code == 202


async def test_a_job_is_gone_after_its_time_with_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with jobs(tmp_path, jobs_ttl=100) as gateway:
        accepted = await gateway.http.post("/jobs/shout", json={"text": "x"})
        job = accepted.json()["id"]
        await ended(gateway, job)
        later = time.time() + 101
        monkeypatch.setattr(time, "time", lambda: later)
        late = await gateway.http.get(f"/jobs/{job}")
    assert (late.status_code, late.json()["error"]) == (410, "expired-job")
    assert len(names_in(tmp_path)) == 3
    async with JobStore(str(tmp_path), lambda: GatewayOptions(jobs_ttl=100)).opened():
        assert names_in(tmp_path) == {"inbox"}


@pytest.fixture(params=["a directory", "fsspec's memory, in the place of S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where jobs are kept."""
    return str(tmp_path / "jobs") if request.param == "a directory" else f"memory://{uuid4().hex}/jobs"


async def test_gateways_that_share_a_place_have_the_same_jobs_and_one_that_ends_leaves_them_to_the_others(
    place: str,
) -> None:
    broker = MemoryBroker()
    broker.declare("slow")
    routes, options = read_routes({"slow": {"queue": "slow"}}), GatewayOptions(jobs=place)
    with trio.fail_after(PATIENCE):
        async with open_client(broker) as client:
            counted = CollectorRegistry()
            apps = [make_app(client, routes, options, metrics=metrics) for metrics in (None, counted, None)]
            first, second, third = (Front(Gateway(app, client), asking(app)) for app in apps)
            async with apps[1].router.lifespan_context(apps[1]):
                async with apps[0].router.lifespan_context(apps[0]):
                    job = (await first.http.post("/jobs/slow", content=b"x")).json()["id"]
                    assert (await second.http.get(f"/jobs/{job}")).json()["status"] == "queued"
                    deleted = (await second.http.post("/jobs/slow", content=b"y")).json()["id"]
                    assert value(counted, "rpcb_gateway_jobs_open") == 1
                    await second.http.delete(f"/jobs/{deleted}")
                request = await taken(broker)
                broker.publish(b"a", routing_key=request["reply_to"], correlation_id=job)
                assert (await ended(second, job))["status"] == "done"
                assert value(counted, "rpcb_gateway_jobs_total", outcome="done") == 1
                assert (value(counted, "rpcb_gateway_jobs_bytes") or 0) > 0
                broker.publish(b"b", routing_key=request["reply_to"], correlation_id=job)
            async with apps[2].router.lifespan_context(apps[2]):
                assert (await third.http.get(f"/jobs/{job}/result")).content == b"a"
            for each in (first, second, third):
                await each.http.aclose()


async def taken(broker: MemoryBroker) -> dict[str, Any]:
    """The next request of `slow`; it is acked."""
    async with broker.open_session(Topology(queue="slow"), prefetch=1) as session:
        request = await session.requests.receive()
    found = broker.get("slow")
    assert found is not None
    return {"reply_to": request.reply_to, "priority": request.priority, "deadline": request.deadline}


async def test_a_deleted_job_is_cancelled_where_workers_listen(tmp_path: Path) -> None:
    broker = MemoryBroker()
    topology, policy = Topology(queue="slow", cancel=True), FixedPolicy(2, max_wait=1000.0)
    routes, options = read_routes({"slow": {"queue": "slow"}}), GatewayOptions(jobs=str(tmp_path))
    with trio.fail_after(PATIENCE):
        async with (
            working(Shouting(), broker, queue=topology, batching=policy) as running,
            open_client(broker, cancel=True) as client,
        ):
            made = make_app(client, routes, options)
            async with made.router.lifespan_context(made), asking(made) as http:
                job = (await http.post("/jobs/slow", content=b"good")).json()["id"]
                assert (await http.delete(f"/jobs/{job}")).status_code == 204
                await running.until_settled(1)
    assert running.endings == {Settled.DROPPED: 1}


@pytest.mark.parametrize(
    ("body", "content_type", "result"),
    [
        (b'{"label": "cat"}', "application/json; charset=utf-8", {"label": "cat"}),
        (b"{", "application/json", None),
        (b'"' + b"x" * 2**20 + b'"', "application/json", None),
        (b"1", "text/plain", None),
    ],
    ids=["json", "no json", "long", "text"],
)
async def test_a_reply_that_is_json_stands_in_the_status_of_a_job_without_a_form(
    body: bytes, content_type: str, result: object, tmp_path: Path
) -> None:
    async with jobs(tmp_path) as gateway:
        job = (await gateway.http.post("/jobs/slow")).json()["id"]
        inbox = (tmp_path / "inbox").read_text()
        reply = Outgoing(
            body=body,
            exchange="",
            routing_key=inbox,
            correlation_id=job,
            reply_to="x",
            content_type=content_type,
        )
        await deposit(gateway.client, reply, 5)
        told = await ended(gateway, job)
    assert (told["status"], told.get("result")) == ("done", result)


async def test_a_job_s_files_are_for_their_user_alone(tmp_path: Path) -> None:
    async with jobs(tmp_path / "new") as gateway:
        await gateway.http.post("/jobs/slow")
        for path in (tmp_path / "new").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_while_the_place_can_t_be_written_jobs_are_refused_and_replies_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with jobs(tmp_path) as gateway:
        job = (await gateway.http.post("/jobs/slow")).json()["id"]
        replace, inbox = Files.replace, (tmp_path / "inbox").read_text()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Files, "replace", full)
        refused = await gateway.http.post("/jobs/slow")
        reply = Outgoing(body=b"late", exchange="", routing_key=inbox, correlation_id=job, reply_to="x")
        await deposit(gateway.client, reply, 5)
        while "a reply can't be kept, and waits" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await trio.sleep(0.01)
        queued = await gateway.http.get(f"/jobs/{job}")
        monkeypatch.setattr(Files, "replace", replace)
        assert (await ended(gateway, job))["status"] == "done"
    assert (refused.status_code, refused.json()["error"]) == (507, "jobs")
    assert queued.json()["status"] == "queued"


class Receiver:
    """Who is told of jobs, and what it answers, one after another; then 204."""

    def __init__(self, *answers: int | type[Exception]) -> None:
        self._answers = list(answers)
        self.told: list[httpx.Request] = []
        self.was_asked, self.was_told = trio.Event(), trio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.told.append(request)
        self.was_asked.set()
        answer = self._answers.pop(0) if self._answers else 204
        if not isinstance(answer, int):
            raise answer("no")
        if answer == 204:
            self.was_told.set()
        return httpx.Response(answer, headers={"location": "http://127.0.0.1:1/"})


@pytest.fixture
def receives(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Receiver]:
    """Have all webhooks come to a receiver, and tried again at once."""
    monkeypatch.setattr(_webhooks, "FIRST_RETRY", 0.001)

    def start(*answers: int | type[Exception]) -> Receiver:
        receiver = Receiver(*answers)
        transport = httpx.MockTransport(receiver)
        monkeypatch.setattr(httpx, "AsyncClient", partial(CLIENT, transport=transport))
        return receiver

    return start


CLIENT = httpx.AsyncClient
TOLD: dict[str, Any] = {
    "jobs_callback": ("https://hooks.example:8443",),
    "jobs_secret": "whsec_" + base64.b64encode(b"what the gateway and its clients know").decode(),
}
CALLBACK = {"rpcb-callback-url": "https://hooks.example:8443/done?key=1"}


async def test_a_callback_is_told_again_until_it_is_taken_signed_and_no_redirect_is_followed(
    tmp_path: Path, receives: Callable[..., Receiver]
) -> None:
    receiver = receives(500, 302, httpx.ConnectError)
    async with jobs(tmp_path, **TOLD) as gateway:
        accepted = await gateway.http.post("/jobs/bad", json={"text": "x"}, headers=CALLBACK)
        await receiver.was_told.wait()
        while any(name.endswith(".callback") for name in names_in(tmp_path)):  # noqa: ASYNC110 - files tell nobody
            await trio.sleep(0.01)
    job = accepted.json()["id"]
    assert [str(each.url) for each in receiver.told] == [CALLBACK["rpcb-callback-url"]] * 4
    for each in receiver.told:
        told = Webhook(TOLD["jobs_secret"]).verify(each.content, dict(each.headers))
        assert told["type"] == "job.failed"
        assert told["data"] == {
            "id": job,
            "name": "bad",
            "status": "failed",
            "url": f"https://x.example/jobs/{job}",
        }
        assert each.headers["webhook-id"] == job


async def test_what_a_gateway_had_no_time_to_tell_the_next_one_tells(
    tmp_path: Path, receives: Callable[..., Receiver]
) -> None:
    deaf = receives(*[503] * 100_000)
    async with jobs(tmp_path, **TOLD) as gateway:
        accepted = await gateway.http.post("/jobs/shout", json={"text": "x"}, headers=CALLBACK)
        await deaf.was_asked.wait()
    receiver = receives()
    async with jobs(tmp_path, **TOLD):
        await receiver.was_told.wait()
    assert receiver.told[0].headers["webhook-id"] == accepted.json()["id"]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/",
        "http://hooks.example:8443/",
        "https://hooks.example:8443@evil.example/",
        "https://user:secret@hooks.example:8443/",
        "https://hooks.example:8443.evil.example/",
        "https://evil.example\\@hooks.example:8443/",
        "//hooks.example:8443/",
        "file:///etc/passwd",
        "https://hooks.example:8443/" + "x" * 2048,
        "https://[::1/",
        "",
    ],
)
async def test_no_origin_that_is_not_named_is_told(
    url: str, tmp_path: Path, receives: Callable[..., Receiver]
) -> None:
    receiver = receives()
    async with jobs(tmp_path, **TOLD) as gateway:
        refused = await gateway.http.post("/jobs/bytes", headers={"rpcb-callback-url": url})
    assert (refused.status_code, refused.json()["error"]) == (400, "callback")
    assert receiver.told == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jobs_callback": ("https://a.example",)}, "without jobs; set that, too"),
        ({"jobs": "memory://x", "jobs_callback": ("https://a.example",)}, "needs jobs_secret"),
        ({"jobs": "memory://x", "jobs_callback": ("https://a.example/path",)}, "without a path"),
        ({"jobs": "memory://x", **TOLD, "jobs_secret": "hunter2!"}, "jobs_secret is no base64"),
        ({"jobs": "memory://x", **TOLD, "jobs_secret": "aHVudGVyMg=="}, "jobs_secret has 7 bytes"),
    ],
)
def test_a_setting_that_would_have_no_effect_is_named_with_its_remedy(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        make_app("amqp://localhost", {}, GatewayOptions(**options))
    assert "hunter2" not in str(caught.value)


def test_the_secret_of_webhooks_is_in_no_repr() -> None:
    shown = repr(GatewayOptions(jobs="memory://x", **TOLD))
    assert TOLD["jobs_secret"] not in shown
    assert "jobs_secret='***'" in shown


async def test_a_place_that_can_t_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExceptionGroup) as caught:
        async with jobs(tmp_path / "file"):
            pass
    error = first_leaf(caught.value)
    assert isinstance(error, SettingError)
    assert f"jobs: {tmp_path / 'file'} can't be used" in str(error)
