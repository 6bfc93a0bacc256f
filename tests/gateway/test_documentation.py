"""docs/how-to/gateway.md says what is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio.gateway import Field, Part, Route, read_routes
from tests.gateway.fronts import front, one_by_one

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "gateway.md").read_text()
EXAMPLES = [tomllib.loads(each) for each in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]


def keys_of_table(heading: str) -> list[str]:
    """What stands in the first column of a table."""
    rows = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("key of `[routes.NAME]`", Route),
        ("key of a form's field", Field),
        ("key of `[routes.NAME.parts.PART]`", Part),
    ],
)
def test_its_tables_have_all_keys_and_no_others(heading: str, struct: type[msgspec.Struct]) -> None:
    keys = keys_of_table(f"{heading} | what it says")
    assert sorted(keys) == sorted(field.name for field in msgspec.structs.fields(struct))


def test_its_examples_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = tmp_path / "shop" / "web"
    web.mkdir(parents=True)
    for name in ("shop.js", "shoes.jpg"):
        (web / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    read = [read_routes(example["routes"]) for example in EXAMPLES if "routes" in example]
    assert [list(routes) for routes in read] == [["classify"], ["asr", "se", "both"], ["shop"]]


def test_the_flags_it_names_are_there() -> None:
    known = {name.replace("_", "-") for name in GatewaySettings.__dataclass_fields__}
    elsewhere = {"batch-headers", "data-binary", "log-level", "config", "build", "help"}
    assert set(re.findall(r"--([a-z][a-z-]+)", PAGE)) <= known | elsewhere


async def test_its_composite_route_does_what_is_said_of_it() -> None:
    [routes] = [example["routes"] for example in EXAMPLES if "both" in example.get("routes", {})]
    recognise = one_by_one(lambda body: {"sentence": body["audio"].decode()})
    enhance = one_by_one(lambda body: {"data": {"enhance": body["audio"].upper()}})
    services: dict[str, Any] = {"asr-en": recognise, "seBase": enhance}
    async with front(routes, **services) as gateway:
        answer = (await gateway.http.post("/both", files={"audio": b"noisy"})).json()
    del services["seBase"]
    async with front(routes, **services) as gateway:
        failed = (await gateway.http.post("/both", files={"audio": b"noisy"})).json()
    assert (answer["plain"], answer["clear"]) == ({"sentence": "noisy"}, {"sentence": "NOISY"})
    assert failed["plain"] == {"sentence": "noisy"}
    assert failed["enhanced"]["problem"]["status"] == 502
    assert failed["clear"]["problem"]["detail"] == "it takes enhance from enhanced, which failed"
