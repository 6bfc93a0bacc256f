"""Files to which URLs lead: for how long they are kept, how much they take, and who can read them."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio

from rpcb_trio import SettingError
from rpcb_trio._files import _files
from rpcb_trio._gateway import _store
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._store import NAME, Store
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import front, one_by_one

LOCAL = "fsspec.implementations.local.LocalFileSystem"
SOUND = one_by_one(lambda body: {"sound": body["sound"]})
ROUTES: dict[str, Any] = {
    "sound": {
        "queue": "sound",
        "form": {"sound": "file"},
        "urls": {"sound": "url"},
        "media_type": "audio/wav",
        "base64": False,
    }
}


@pytest.fixture(params=["a directory", "fsspec's memory, in the place of S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where files are kept."""
    return str(tmp_path / "files") if request.param == "a directory" else f"memory://{uuid4().hex}/files"


async def read(store: Store, name: str) -> bytes:
    """All of a file."""
    found = await store.find(name)
    assert found is not None
    content = b"".join([piece async for piece in found.pieces])
    assert found.size == len(content)
    return content


def files_in(place: Path) -> int:
    """How many."""
    return len(list(place.iterdir()))


async def test_a_url_leads_to_the_file_and_no_other_name_does(place: str) -> None:
    async with front(
        ROUTES, GatewayOptions(files=place, public_url="https://x.example/"), sound=SOUND
    ) as gateway:
        answers = [await gateway.http.post("/sound", files={"sound": b"RIFF"}) for _ in range(2)]
        urls = [answer.json()["url"] for answer in answers]
        names = [url.removeprefix("https://x.example/files/") for url in urls]
        found = await gateway.http.get(f"/files/{names[0]}")
        others = [
            await gateway.http.get(f"/files/{name}")
            for name in (
                "x.wav",
                names[0][:-1],
                f"{names[0]}x",
                f"..%2Ffiles%2F{names[0]}",
                "..%2f..%2fetc%2fpasswd",
                "%00",
            )
        ]
    assert all(NAME.fullmatch(name) for name in names)
    assert names[0] != names[1]
    assert answers[0].json() == {"url": urls[0]}
    assert (found.status_code, found.content) == (200, b"RIFF")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in found.headers["content-security-policy"]
    assert {other.status_code for other in others} == {404}


async def test_a_file_is_gone_after_its_time(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(GatewayOptions(files=place, files_kept=100))
    async with store.opened():
        name = await store.keep(b"1", "audio/wav")
        assert await read(store, name) == b"1"
        later = time.time() + 101
        monkeypatch.setattr(time, "time", lambda: later)
        assert await store.find(name) is None
        await store.sweep()
        assert store.size == 0
    async with Store(GatewayOptions(files=place)).opened():
        assert await store.find(name) is None


async def test_the_oldest_go_when_all_of_them_take_too_much(place: str) -> None:
    store = Store(GatewayOptions(files=place, files_size=10))
    async with store.opened():
        names = [await store.keep(b"1234", "audio/wav") for _ in range(3)]
        found = [await store.find(name) is not None for name in names]
        with pytest.raises(Problem, match="there is no room") as caught:
            await store.keep(b"12345678901", "audio/wav")
    assert found == [False, True, True]
    assert caught.value.status == 507


async def test_what_an_earlier_life_left_is_still_there_and_goes_in_its_turn(place: str) -> None:
    async with Store(GatewayOptions(files=place)).opened():
        pass
    first = Store(GatewayOptions(files=place, files_size=8))
    async with first.opened():
        name = await first.keep(b"1234", "audio/wav")
    second = Store(GatewayOptions(files=place, files_size=8))
    async with second.opened():
        assert second.size == 4
        assert await second.find(name) is not None
        for _ in range(2):
            await second.keep(b"5678", "audio/wav")
        assert await second.find(name) is None


async def test_a_temporary_directory_goes_with_the_gateway() -> None:
    store = Store(GatewayOptions())
    async with store.opened():
        await store.keep(b"1", "audio/wav")
        assert store._files is not None
        place = trio.Path(store._files.root)
        assert await place.exists()
    assert not await place.exists()


async def test_nobody_else_on_the_machine_may_read_what_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "below" / "files"
    before = os.umask(0)
    try:
        store = Store(GatewayOptions(files=str(place)))
        async with store.opened():
            name = await store.keep(b"1", "audio/wav")
            assert await read(store, name) == b"1"
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


async def test_without_a_route_that_makes_files_no_place_for_them_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    routes = {
        "echo": {"queue": "echo"},
        "form": {"queue": "echo", "body": "bytes", "form": {"audio": "file"}},
    }
    async with front(routes, echo=lambda bodies: bodies) as gateway:
        large = bytes(3_000_000)
        assert (await gateway.http.post("/form", files={"audio": large})).content == large
        assert (await gateway.http.get(f"/files/{'a' * 32}.wav")).status_code == 404


async def test_without_any_temporary_directory_the_setting_to_mend_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(SettingError, match="files: there is no temporary directory: "):
        async with Store(GatewayOptions()).opened():
            pass


async def test_a_place_that_can_t_be_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file" / "below"), "nonsense://x"):
        with pytest.raises(SettingError, match=r"files: .* can't be used"):
            async with Store(GatewayOptions(files=place)).opened():
                pass


async def test_a_full_disk_costs_the_answer_but_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(ROUTES, GatewayOptions(files=str(tmp_path)), sound=SOUND) as gateway:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(f"{LOCAL}.pipe_file", full)
        answer = await gateway.http.post("/sound", files={"sound": b"RIFF"})
    assert (answer.status_code, answer.json()["error"]) == (507, "files")


async def test_a_large_file_is_read_in_pieces_by_each_from_its_start(place: str) -> None:
    store = Store(GatewayOptions(files=place))
    content = bytes(range(256)) * 10_000
    async with store.opened():
        name = await store.keep(content, "audio/wav")
        one, other = await store.find(name), await store.find(name)
        assert one is not None
        assert other is not None
        first = await anext(one.pieces)
        rest = [piece async for piece in one.pieces]
        assert first + b"".join(rest) == content
        assert max(map(len, [first, *rest])) == _store.PIECE
        assert b"".join([piece async for piece in other.pieces]) == content


async def test_a_place_that_hangs_costs_the_answer_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "TIMEOUT", 0.2)
    may_end = threading.Event()
    async with front(ROUTES, GatewayOptions(files=str(tmp_path)), sound=SOUND) as gateway:
        with monkeypatch.context() as patched:
            patched.setattr(f"{LOCAL}.pipe_file", lambda *_: may_end.wait())
            answer = await gateway.http.post("/sound", files={"sound": b"RIFF"})
        later = await gateway.http.post("/sound", files={"sound": b"RIFF"})
    may_end.set()
    assert [answer.status_code, later.status_code] == [507, 200]


async def test_what_was_broken_off_in_writing_goes_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "TIMEOUT", 0.2)
    may_end, has_ended = threading.Event(), threading.Event()

    def late(_: object, path: str, content: bytes) -> None:
        may_end.wait()
        Path(path).write_bytes(content)
        has_ended.set()

    store = Store(GatewayOptions(files=str(tmp_path), files_kept=100))
    async with store.opened():
        monkeypatch.setattr(f"{LOCAL}.pipe_file", late)
        with pytest.raises(Problem, match="can't be written"):
            await store.keep(b"1", "audio/wav")
        may_end.set()
        await trio.to_thread.run_sync(has_ended.wait)
        assert files_in(tmp_path) == 1
        later = time.time() + 101
        monkeypatch.setattr(time, "time", lambda: later)
        await store.sweep()
        assert files_in(tmp_path) == 0


async def test_errors_that_only_its_library_knows_cost_the_answer_but_are_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_credentials(*_: object) -> None:
        raise LookupError("no credentials")

    async with front(ROUTES, GatewayOptions(files=str(tmp_path)), sound=SOUND) as gateway:
        monkeypatch.setattr(f"{LOCAL}.pipe_file", no_credentials)
        answer = await gateway.http.post("/sound", files={"sound": b"RIFF"})
    assert (answer.status_code, answer.json()["error"]) == (507, "files")
