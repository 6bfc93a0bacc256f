"""The distributions: what a user of the wheels gets, without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECORDING = "librivox-0870.wav"
WORKER = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODELS = tomllib.loads((ROOT / "models" / "pyproject.toml").read_text())["project"]
VERSION = WORKER["version"]

HEARD = """
import msgspec, trio
from rpcb_models.asr import service
from rpcb_models.recordings import recordings
from rpcb_models.wire import AudioRequest
from rpcb_trio.testing import push_batch

first = recordings()[0]
service.warm_up()
body = msgspec.msgpack.encode(AudioRequest(audio=first.path.read_bytes(), format="wav"))
print(msgspec.msgpack.decode(trio.run(push_batch, service, [body])[0].body)["sentence"])
"""


def run(*argv: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(argv, cwd=cwd, env=clean | environ, capture_output=True, text=True, check=False)


def build(into: Path) -> dict[str, Path]:
    """Both distributions, each as an sdist and as a wheel out of that sdist; by the ends of their names."""
    for folder in (ROOT, ROOT / "models"):
        done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", into, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.name.replace(f"-{VERSION}", "").replace("-py3-none-any", ""): path for path in into.iterdir()
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with both wheels; what they depend on comes from the environment of the tests."""
    home = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    assert made.returncode == 0, made.stderr
    python = home / "bin" / "python"
    wheels = [path for path in built.values() if path.suffix == ".whl"]
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    done = run(*pip, *wheels, cwd=home)
    assert done.returncode == 0, done.stderr
    found = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home)
    site = Path(found.stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_the_worker_is_built_with_its_types_and_its_page_and_nothing_of_the_tests(
    built: dict[str, Path],
) -> None:
    names = names_in(built["rpcb_trio.whl"])
    assert {"rpcb_trio/py.typed", "rpcb_trio/_gateway/static/page.html"} <= names
    assert {name.split("/")[0] for name in names} == {"rpcb_trio", f"rpcb_trio-{VERSION}.dist-info"}


def test_the_models_are_built_with_their_checkpoints_recordings_and_licences(built: dict[str, Path]) -> None:
    names = names_in(built["rpcb_trio_models.whl"])
    assert {
        "rpcb_models/asr/silero_vad.onnx",
        "rpcb_models/asr/quartznet_prompts.nemo",
        "rpcb_models/se/dtln.safetensors",
        f"rpcb_models/recordings/{RECORDING}",
        "rpcb_models/gateway.toml",
    } <= names
    assert {name.rsplit("/", 1)[-1] for name in names} >= {"LICENSE", "SILERO-LICENSE", "DTLN-LICENSE"}
    assert {name.split("/")[0] for name in names} == {"rpcb_models", f"rpcb_trio_models-{VERSION}.dist-info"}


def test_the_source_distributions_hold_no_tests_and_no_benches(built: dict[str, Path]) -> None:
    for name in ("rpcb_trio.tar.gz", "rpcb_trio_models.tar.gz"):
        with tarfile.open(built[name]) as file:
            folders = {path.split("/")[1] for path in file.getnames() if path.count("/") > 1}
        assert folders <= {"src", "rpcb_models"}


def test_an_index_would_take_the_distributions(built: dict[str, Path]) -> None:
    done = run(sys.executable, "-m", "twine", "check", "--strict", *built.values(), cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_two_builds_of_one_tree_are_the_same_to_the_last_byte(built: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path)
    assert again.keys() == built.keys()
    for name, path in again.items():
        assert path.read_bytes() == built[name].read_bytes(), name


def test_each_distribution_asks_for_the_other_at_exactly_its_own_version() -> None:
    assert MODELS["version"] == VERSION
    assert MODELS["dependencies"] == [f"rpcb-trio=={VERSION}"]
    asked = [
        each for extra in WORKER["optional-dependencies"].values() for each in extra if "-models" in each
    ]
    assert asked
    assert all(each.endswith(f"]=={VERSION}") for each in asked)


def test_both_distributions_carry_one_version(python: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import version as v; print(v('rpcb-trio'), v('rpcb-trio-models'))"
    assert run(python, "-c", code, cwd=tmp_path).stdout == f"{VERSION} {VERSION}\n"
    assert run(python, "-m", "rpcb_trio", "--version", cwd=tmp_path).stdout == f"{VERSION}\n"


def test_outside_a_checkout_the_wheels_are_what_is_imported_and_the_demo_shows_its_help(
    python: Path, tmp_path: Path
) -> None:
    where = run(python, "-c", "import rpcb_trio, rpcb_models; print(rpcb_trio.__file__)", cwd=tmp_path)
    assert str(python.parent.parent) in where.stdout
    shown = run(python, "-m", "rpcb_trio", "demo", "--help", cwd=tmp_path, COLUMNS="100")
    assert (shown.returncode, "--output" in shown.stdout) == (0, True), shown.stderr


def test_outside_a_checkout_the_shipped_recogniser_hears_a_shipped_recording(
    python: Path, tmp_path: Path
) -> None:
    done = run(python, "-c", HEARD, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3  # words


def test_an_installed_service_is_found_by_its_name_and_all_are_listed_where_there_is_no_such_one(
    python: Path, tmp_path: Path
) -> None:
    body = python.parent / "activate"
    served = run(python, "-m", "rpcb_trio", "tune", "echo", "--body", body, cwd=tmp_path)
    assert served.returncode == 0, served.stderr
    wrong = run(python, "-m", "rpcb_trio", "tune", "azr", "--body", body, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "name an installed service (asr, echo, onnx, se, sklearn, transformers)" in wrong.stderr
