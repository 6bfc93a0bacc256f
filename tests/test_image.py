"""What the image is, read from its Dockerfile; `make image-check` makes and runs it."""

from __future__ import annotations

import re

import pytest

from rpcb_trio._commands._app import parse
from tests.blocks import ROOT, blocks_of
from tests.image.dockerfile import Stage, read
from tests.image.rootfs import ignored

TEXT = (ROOT / "Dockerfile").read_text()
DOCUMENTED = next(
    block.text for block in blocks_of(ROOT / "docs" / "how-to" / "deploy.md") if block.title == "Dockerfile"
)


def commands(stage: Stage) -> str:
    return "\n".join(step.command for step in stage.steps if step.keyword == "RUN")


def test_what_runs_has_none_of_the_tools_that_built_it_and_no_checkout() -> None:
    builder, image = read(TEXT)
    assert image.base == builder.base == "debian:trixie-slim"
    assert "editable" not in TEXT
    assert "pip wheel" in commands(builder)
    assert "pip" not in commands(image)
    assert [step.copied for step in image.steps if step.keyword == "COPY"] == [
        (builder.name, ["/opt/rpcb"], "/opt/rpcb")
    ]


def test_packages_are_those_of_the_constraints_and_their_cache_is_not_in_the_image() -> None:
    builder, _ = read(TEXT)
    assert "--constraint constraints.txt" in commands(builder)
    assert re.search(r"RUN --mount=type=cache,target=/root/\.cache/pip ", TEXT.replace("\\\n", ""))
    assert TEXT.count("apt-get update") == TEXT.count("rm -rf /var/lib/apt/lists/*")


def test_torch_is_for_the_processor_unless_it_is_asked_for_cuda() -> None:
    assert read(TEXT)[0].arguments["TORCH_INDEX"].endswith("/cpu")
    assert read(TEXT, {"TORCH_INDEX": ""})[0].arguments["TORCH_INDEX"] == ""


def test_its_user_is_a_number_that_is_not_root_and_owns_the_journal_alone() -> None:
    image = read(TEXT)[-1]
    assert int(image.user) > 0
    assert f"--owner {image.user} --group {image.user} --mode 700 /var/lib/rpcb-trio" in commands(image)
    assert image.environment["XDG_STATE_HOME"] == "/var/lib"


def test_its_first_process_is_an_init_and_its_health_is_asked_on_the_port_that_it_opens() -> None:
    image = read(TEXT)[-1]
    assert image.entry == ["/usr/bin/tini", "--", "rpcb-trio"]
    assert image.health == ["rpcb-trio", "health"]
    assert image.environment["RPCB_HEALTH_HOST"] == "0.0.0.0"  # noqa: S104 - of the container
    assert image.environment["RPCB_HEALTH_PORT"] == "8080"


def test_all_that_it_copies_reaches_the_engine_and_what_a_build_needs_not_stays_away() -> None:
    builder, _ = read(TEXT)
    copied = [name for step in builder.steps if step.keyword == "COPY" for name in step.copied[1]]
    assert [name for name in copied if ignored(ROOT, name)] == []
    assert all(ignored(ROOT, name) for name in (".git", ".venv", "tests", "docs", "benches"))


def test_the_image_that_the_documentation_makes_of_it_runs_as_the_same_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = read(TEXT)[-1]
    [derived] = read(DOCUMENTED, bases={"rpcb-trio": image})
    assert derived.user == image.user
    assert derived.entry == image.entry
    for name, value in derived.environment.items():
        if name.startswith("RPCB_"):
            monkeypatch.setenv(name, value)
    _, bound = parse(derived.command)
    assert bound.arguments["target"] == "shout:shout"
    assert bound.arguments["settings"].queue == "shout"
