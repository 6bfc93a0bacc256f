"""Whatever a recording claims, it costs its decoder's process and nothing else."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rpcb_models.audio import DECODE_MEMORY, AudioError, _reading, read_audio
from rpcb_models.audio._decoder import Decoder
from rpcb_models.audio_service import AudioService
from rpcb_models.decoding import protocol
from rpcb_models.wire import Status
from rpcb_trio import ServiceError, SettingError
from tests.models.sounds import audio_file, tone, written

WAV = audio_file("wav")


@pytest.fixture
def decoder() -> Decoder:
    """The one that will be used next."""
    read_audio(WAV)
    return _reading._idle[-1]


def pid_of(decoder: Decoder) -> int:
    return decoder._process.pid


def refusal_of(body: bytes, decode_memory: int = DECODE_MEMORY) -> AudioError:
    with pytest.raises(AudioError) as caught:
        read_audio(body, decode_memory=decode_memory)
    return caught.value


def alac(samples_a_frame: int) -> bytes:
    """Stereo whose header claims that many samples in a frame."""
    body = bytearray(written(np.stack([tone(2.0, 44_100)] * 2), "ipod", "alac", rate=44_100))
    cookie = body.index(b"alac", body.index(b"alac") + 4)
    struct.pack_into(">I", body, cookie + 8, samples_a_frame)
    return bytes(body)


def ended(pid: int) -> bool:
    """Wait until a process has ended that need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 30)[0])
    finally:
        os.close(descriptor)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_claim_of_gigabytes_is_refused_by_the_memory_that_one_request_may_cost() -> None:
    refusal = refusal_of(alac(2**24))
    assert refusal.status == Status.UNPARSEABLE
    assert str(refusal) == "the audio needs more than 256 MiB to decode (decode_memory)"


def test_decode_memory_is_what_may_be_had_besides_the_file_and_its_samples() -> None:
    many_megabytes = audio_file("wav", seconds=110.0, rate=48_000, layout="5.1")
    assert len(many_megabytes) > 60 * 2**20
    assert len(read_audio(many_megabytes, decode_memory=16)) == 110 * 16_000
    assert "more than 32 MiB" in str(refusal_of(alac(2**23), decode_memory=32))


def test_a_service_has_decode_memory_as_an_option_and_refuses_too_little() -> None:
    with pytest.raises(SettingError, match="decode_memory is 1; give 16 or more, in MiB"):
        AudioService(decode_memory=1)


def test_a_process_is_used_again(decoder: Decoder) -> None:
    for _ in range(3):
        read_audio(WAV)
        assert _reading._idle[-1] is decoder


def test_a_refused_recording_leaves_its_process_to_the_next(decoder: Decoder) -> None:
    for body in (b"%PDF", WAV[:20_000], alac(2**24)):
        refusal_of(body)
    assert len(read_audio(WAV)) == 16_000
    assert _reading._idle[-1] is decoder


def test_threads_have_a_process_each() -> None:
    barrier = threading.Barrier(3)
    with ThreadPoolExecutor(3, initializer=barrier.wait) as threads:
        together = list(threads.map(read_audio, [WAV] * 30))
    assert all(np.array_equal(each, together[0]) for each in together)
    assert len({pid_of(each) for each in _reading._idle}) == len(_reading._idle)


def test_the_death_of_a_process_is_the_failure_of_what_it_was_reading(decoder: Decoder) -> None:
    os.kill(pid_of(decoder), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read_audio, WAV)
        while not decoder.is_spent:  # before that a new process would take the place of a dead one
            pass
        os.kill(pid_of(decoder), signal.SIGKILL)
        with pytest.raises(
            AudioError, match=re.escape("broke the process that decoded it (SIGKILL)")
        ) as caught:
            reading.result()
    assert caught.value.status == Status.UNPARSEABLE
    assert decoder not in _reading._idle
    assert len(read_audio(WAV)) == 16_000


def test_a_process_that_dies_between_two_recordings_costs_neither(decoder: Decoder) -> None:
    os.kill(pid_of(decoder), signal.SIGKILL)
    assert ended(pid_of(decoder))
    assert len(read_audio(WAV)) == 16_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_of_a_service_ends_no_decoder_for_a_worker_that_drains_needs_it(
    decoder: Decoder, number: signal.Signals
) -> None:
    os.kill(pid_of(decoder), number)
    assert len(read_audio(WAV)) == 16_000
    assert _reading._idle[-1] is decoder


def test_a_decoder_is_told_no_secret_of_its_workers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPCB_AMQP_URL", "amqp://user:secret@host")
    decoder = Decoder()
    try:
        assert "secret" not in Path(f"/proc/{pid_of(decoder)}/environ").read_text()
    finally:
        decoder.end()


def test_a_decoder_is_in_no_group_that_a_terminal_signals(decoder: Decoder) -> None:
    assert os.getpgid(pid_of(decoder)) == pid_of(decoder)


def test_the_kernel_ends_what_takes_too_much_of_a_processor() -> None:
    done = run_python(
        "import os\n"
        "from rpcb_models.decoding._limits import Limits\n"
        "with Limits(os.getppid()).kept(2**30, 0.1):\n"
        "    while True: pass"
    )
    assert done.returncode == -signal.SIGPROF


def test_too_much_of_a_processor_is_the_failure_of_what_was_read(decoder: Decoder) -> None:
    os.kill(pid_of(decoder), signal.SIGPROF)
    assert ended(pid_of(decoder))
    with pytest.raises(AudioError, match=r"takes more than 11\.2 s of a processor to decode"):
        list(decoder.blocks(WAV, "", 120.0, 2**28))
    _reading._idle.remove(decoder)


def test_a_decoder_opens_nothing_whatever_it_is_told() -> None:
    done = run_python(
        "import os, socket\n"
        "from rpcb_models.decoding._limits import Limits\n"
        "limits = Limits(os.getppid())\n"
        "for opens in (lambda: open('/etc/hostname'), socket.socket, os.pipe):\n"
        "    try: opens()\n"
        "    except OSError as error: print(error.errno)\n"
        "with limits.kept(2**20, 1):\n"
        "    try: bytearray(2**24)\n"
        "    except MemoryError: print('memory')\n"
        "bytearray(2**24)"
    )
    assert done.stdout.split() == ["24", "24", "24", "memory"]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", ["raise SystemExit", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_decoder_ends_with_its_worker_however_that_ends(end: str) -> None:
    done = run_python(
        "import os\n"
        "from rpcb_models.audio import _reading, read_audio\n"
        "from tests.models.sounds import audio_file\n"
        "read_audio(audio_file('wav'))\n"
        f"print(_reading._idle[0]._process.pid, flush=True)\n{end}"
    )
    assert ended(int(done.stdout))


def test_a_decoder_ends_with_its_worker_where_somebody_else_holds_the_sockets_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        arguments = [sys.executable, "-m", "rpcb_models.decoding", str(theirs.fileno()), str(worker.pid)]
        with subprocess.Popen(arguments, pass_fds=[theirs.fileno()]) as decoder:
            theirs.close()
            ready = ours.recv(1)
            worker.kill()
            assert decoder.wait() == 0
            assert ready == protocol.READY


def test_a_fork_has_decoders_of_its_own() -> None:
    done = run_python(
        "import os\n"
        "from rpcb_models.audio import read_audio, _reading\n"
        "from tests.models.sounds import audio_file\n"
        "wav = audio_file('wav')\n"
        "read_audio(wav)\n"
        "first = _reading._idle[0]._process.pid\n"
        "child = os.fork()\n"
        "for _ in range(20): assert len(read_audio(wav)) == 16_000\n"
        "assert (_reading._idle[0]._process.pid == first) is bool(child)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0"
    )
    assert done.returncode == 0, done.stderr


def test_where_no_process_can_be_had_it_is_not_the_requests_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reading, "_idle", [])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ServiceError, match=r"^no process can be started to decode in \(No such file"):
        read_audio(WAV)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ServiceError, match="a decoder's process ended with 1 before it could decode"):
        read_audio(WAV)


@pytest.mark.parametrize("library", ["av", "soxr", "numpy"])
def test_a_library_that_is_missing_is_named_at_the_start_with_what_brings_it(library: str) -> None:
    done = run_python(
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {library!r} else found(name)\n"
        f"sys.modules[{library!r}] = None\n"
        "import rpcb_models.audio"
    )
    assert f"reading audio needs {library}: pip install 'rpcb-trio[audio]'" in done.stderr


def test_a_worker_never_loads_libav_itself() -> None:
    done = run_python("import sys, rpcb_models.audio_service; print(*sys.modules)")
    assert not {"av", "soxr"} & set(done.stdout.split())


def test_a_decoders_process_loads_nothing_but_what_it_decodes_with() -> None:
    done = run_python("import sys, rpcb_models.decoding.__main__; print(*sys.modules)")
    assert not {"rpcb_trio", "trio", "torch", "msgspec"} & set(done.stdout.split())
