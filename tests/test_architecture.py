"""The rooms of the package, and which may import which; pyproject.toml has the contracts in full."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "rpcb_trio"

ASYNCIO_SIDE = {"asyncio", "aiormq", "pamqp", "trio_asyncio"}
HEAVY = {"torch", "numpy", "onnxruntime", "av", "cyclopts", "rich", "opentelemetry"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, in the repository's root."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_import_contract_is_kept() -> None:
    done = run_python(
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_picture_of_the_rooms_shows_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [each["layers"] for each in contracts if each["type"] == "layers"]
    [picture] = re.findall(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    shown = [
        {
            name
            for names in re.findall(r"^  (\w+(?:, \w+)*)", part, re.MULTILINE)
            for name in names.split(", ")
        }
        for part in re.split(r"^─+$", picture, flags=re.MULTILINE)
    ]
    assert shown == [set(layer.split(" | ")) for layer in layers], "draw CONTRIBUTING.md's picture anew"


@pytest.mark.parametrize("module", ["rpcb_trio", "rpcb_trio.testing"])
def test_importing_the_package_imports_nothing_of_asyncio_and_nothing_heavy(module: str) -> None:
    done = run_python(f"import sys, {module}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & (ASYNCIO_SIDE | HEAVY)


def test_a_worker_on_the_embedded_broker_never_loads_asyncio() -> None:
    done = run_python(
        "import sys, trio, rpcb_trio\n"
        "async def main():\n"
        "    broker = rpcb_trio.MemoryBroker()\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        worker = await nursery.start(rpcb_trio.serve, lambda bodies: bodies, broker, 'q')\n"
        "        async with rpcb_trio.open_client(broker) as client:\n"
        "            assert (await client.call(b'x', queue='q')).body == b'x'\n"
        "        worker.drain()\n"
        "trio.run(main)\n"
        "print(*sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & (ASYNCIO_SIDE | HEAVY)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def names_of_the_package(source: Path) -> Iterator[str]:
    """Every name of the package that a file imports or spells out, with dots."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{each.name}" for each in names)
            case ast.Attribute():
                yield ast.unparse(node)


@pytest.mark.parametrize("folder", ["models", "benches", "examples"])
def test_models_benches_and_examples_use_public_names_only(folder: str) -> None:
    assert sources(folder)
    private = [
        f"{source.relative_to(ROOT)}: {name}"
        for source in sources(folder)
        for name in names_of_the_package(source)
        if name.startswith("rpcb_trio.") and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
