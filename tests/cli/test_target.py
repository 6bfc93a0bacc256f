"""TARGET names a service; what it names wrongly is told in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from rpcb_trio import BlockingRpcClient, SettingError
from rpcb_trio._commands.serve._target import load_service

SERVICES = """
from pathlib import Path
from typing import Literal, Optional

def function(bodies):
    return bodies

class Service:
    def decode(self, body): return body
    def infer(self, items): return items
    def encode(self, outcome): return b""

instance = Service()

class Namespace:
    inner = Service()

class Incomplete:
    def infer(self, items): return items

class Broken:
    def __init__(self): raise OSError("no weights")

class Tuned(Service):
    def __init__(self, *, threads: int = 1, model: str = "small"): self.threads, self.model = threads, model
    def infer(self, items): return [self.threads, self.model]

class Typed(Service):
    def __init__(
        self, path: Path | str = "", max_seconds: float | None = None,
        size: Literal["small", "large"] = "small", count: Optional[int] = 1, fast: bool = False,
        name: str = "", where: "nowhere" = None, **more: float,
    ):
        self.count = count

number = 3
"""


@pytest.fixture(autouse=True)
def _package(workplace: Path) -> None:
    (workplace / "here").mkdir()
    (workplace / "here" / "__init__.py").touch()
    (workplace / "here" / "services.py").write_text(SERVICES)
    (workplace / "needy.py").write_text("import not_installed_anywhere\n")
    (workplace / "broken.py").write_text("\n\n1 / 0\n")
    (workplace / "unreadable.py").write_text("def f(:\n")


@pytest.mark.parametrize("attribute", ["function", "Service", "instance", "Namespace.inner"])
def test_a_service_in_any_of_its_forms_is_found_in_the_working_directory(attribute: str) -> None:
    assert load_service(f"here.services:{attribute}").infer([b"x"]) == [b"x"]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("here.services", ["module:attribute"]),
        ("here.services:", ["module:attribute"]),
        (":function", ["module:attribute"]),
        ("nowhere:function", ["no module nowhere", "run this in the folder that holds it, or install it"]),
        ("here.nothing:function", ["no module here.nothing"]),
        ("here.services.function:x", ["no module here.services.function"]),
        ("here.services:functoin", ["here.services has no attribute functoin", "did you mean function?"]),
        ("here.services:Namespace.outer", ["has no attribute outer"]),
        ("here.services:number", ["not a service"]),
        ("here.services:Incomplete", ["Incomplete has no method decode"]),
        ("here.services:Broken", ["OSError: no weights", "services.py:22"]),
        (
            "needy:x",
            ["importing needy fails", "not_installed_anywhere", "needy.py:1", "install what it needs"],
        ),
        ("broken:x", ["importing broken fails", "ZeroDivisionError", "broken.py:3"]),
        ("unreadable:x", ["SyntaxError", "unreadable.py:1"]),
    ],
)
def test_a_wrong_target_is_named_with_the_remedy(target: str, parts: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        load_service(target)
    line = str(caught.value)
    assert line.startswith(f"{target}: ")
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_a_class_is_made_with_the_options() -> None:
    service = load_service("here.services:Tuned", {"threads": 2})
    assert service.infer([]) == [2, "small"]


@pytest.mark.parametrize(
    ("target", "option", "parts"),
    [
        ("Tuned", "thread", ["no option thread", "did you mean threads?"]),
        ("Tuned", "colour", ["no option colour", "it takes threads, model"]),
        ("Service", "threads", ["no option threads"]),
        ("instance", "threads", ["option is for a class"]),
        ("function", "threads", ["option is for a class"]),
    ],
)
def test_an_option_that_can_not_be_given_is_told_in_one_line(
    target: str, option: str, parts: list[str]
) -> None:
    with pytest.raises(SettingError) as refused:
        load_service(f"here.services:{target}", {option: 1})
    assert all(part in str(refused.value) for part in parts)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("max_seconds", "abc", "float | None"),
        ("max_seconds", True, "float | None"),
        ("count", 1.5, "Optional[int]"),
        ("count", "many", "Optional[int]"),
        ("fast", "yes", "bool"),
        ("fast", 1, "bool"),
        ("size", "medium", "Literal['small', 'large']"),
    ],
)
def test_an_option_of_another_type_than_it_is_annotated_with_is_told_in_one_line(
    option: str, value: object, wanted: str
) -> None:
    with pytest.raises(SettingError) as refused:
        load_service("here.services:Typed", {option: value})
    assert str(refused.value) == f"here.services:Typed: option {option}={value}: it must be {wanted}"


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_seconds", 3), ("size", "large"), ("path", "x"), ("name", 5), ("where", 5), ("other", "x")],
)
def test_an_option_that_may_fit_is_left_to_the_class(option: str, value: object) -> None:
    load_service("here.services:Typed", {option: value})


def test_a_hook_under_another_name_is_told_once(workplace: Path, caplog: pytest.LogCaptureFixture) -> None:
    (workplace / "near.py").write_text(f"{SERVICE_CLASS}    def warmup(self): pass\n")
    load_service("near:Service")
    assert [record.getMessage() for record in caplog.records] == [
        "Service.warmup is never called; did you mean warm_up?"
    ]


SERVICE_CLASS = (
    "class Service:\n    def decode(self, body): pass\n    def infer(self, items): pass\n"
    "    def encode(self, outcome): pass\n"
)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("bad.py:B", ["bad.py is a file", "bad:B"]),
        ("./models/bad.py:B", ["models.bad:B"]),
        ("models/bad:B", ["models.bad:B"]),
    ],
)
def test_a_file_in_the_place_of_a_module_is_told_with_its_module(
    target: str, parts: list[str], workplace: Path
) -> None:
    with pytest.raises(SettingError) as caught:
        load_service(target)
    for part in parts:
        assert part in str(caught.value)


def test_a_class_that_needs_arguments_is_told_with_the_options_for_them(workplace: Path) -> None:
    (workplace / "needy.py").write_text(
        SERVICE_CLASS + "    def __init__(self, weights, *, beam, lm=None): pass\n"
    )
    with pytest.raises(SettingError, match="--option weights=VALUE --option beam=VALUE"):
        load_service("needy:Service")


def test_an_error_of_an_import_names_the_users_own_line(workplace: Path) -> None:
    (workplace / "broken.py").write_text("import json\n\njson.loads('{')\n")
    with pytest.raises(SettingError, match=r"JSONDecodeError: .* \(broken.py:3\)"):
        load_service("broken:x")


@pytest.mark.parametrize(
    ("library", "module", "asked"),
    [
        ("gevent", "gevent.monkey", "is_module_patched"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched"),
    ],
)
def test_a_module_that_has_monkey_patched_the_process_is_refused_by_name_with_a_recipe(
    library: str, module: str, asked: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patcher = ModuleType(module)
    setattr(patcher, asked, lambda name: name == "select")
    monkeypatch.setitem(sys.modules, module, patcher)
    (workplace / "fine.py").write_text("def echo(bodies): return bodies\n")
    with pytest.raises(SettingError, match=f"{library} has monkey-patched this process.*__main__"):
        load_service("fine:echo")
    with pytest.raises(SettingError, match=f"{library} has.*HTTP"), BlockingRpcClient("amqp://h"):
        pass
    setattr(patcher, asked, lambda _: False)
    load_service("fine:echo")
