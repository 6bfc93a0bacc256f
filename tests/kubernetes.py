"""Kustomizations as kubectl renders them, and the schemas of what they hold.

`tests/crds` has the schemas of custom resources, without their descriptions: KEDA 2.20.1 (config/crd/bases),
Prometheus operator 0.93.0 (example/prometheus-operator-crd) and RabbitMQ cluster operator 2.22.3
(config/crd/bases; of its spec the keys that are used here).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import yaml

ROOT = Path(__file__).parent.parent
KIT = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.37"
CUSTOM = {
    (schema["apiVersion"], schema["kind"]): schema["schema"]
    for schema in (json.loads(path.read_text()) for path in (ROOT / "tests" / "crds").glob("*.json"))
}

Object = dict[str, Any]


@cache
def _rendered(folder: Path) -> str:
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(folder: Path) -> list[Object]:
    """The objects that `kubectl apply -k` would make of a folder."""
    return list(yaml.load_all(_rendered(folder), Loader=yaml.CSafeLoader))


def kustomized(folder: Path, **keys: Any) -> list[Object]:
    """What comes of a kustomization with these keys, which is written into the folder."""
    text = {
        key: [os.path.relpath(each, folder) if isinstance(each, Path) else each for each in value]
        if isinstance(value, list)
        else value
        for key, value in keys.items()
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(text))
    return rendered(folder)


def with_components(folder: Path, *components: str) -> list[Object]:
    """The worker with components of the kit."""
    return kustomized(folder, resources=[KIT / "worker"], components=[KIT / name for name in components])


def check(thing: Object) -> None:
    """Whether the API server would take it, without a key that it does not know."""
    kind = thing["apiVersion"], thing["kind"]
    if kind in CUSTOM:
        _validator(kind).validate(thing)
    else:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)


def of_kind(objects: list[Object], kind: str) -> Iterator[Object]:
    return (each for each in objects if each["kind"] == kind)


def pods(objects: list[Object]) -> Iterator[Object]:
    return (each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {}))


@cache
def _validator(kind: tuple[str, str]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_strict(CUSTOM[kind]))


def _strict(schema: Any) -> Any:
    """The server drops a key that the schema does not know; here it is an error."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        found["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    return found
