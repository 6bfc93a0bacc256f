"""The bench of typed services runs, and writes what it promises; how dear they are is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benches import typed


def test_the_bench_compares_a_typed_service_with_one_by_hooks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "typed.json"
    typed.main(rounds=1, requests=64, json=file)
    found = json.loads(file.read_text())["results"]
    assert [each["service"] for each in found] == ["bytes", "hooks, json", "hooks, msgspec", "typed"]
    assert all(each["cpu_us"]["lowest"] > 0 for each in found)
    assert "64 characters in, a label out, as JSON" in capsys.readouterr().out
