"""The Kubernetes kit: the API server takes it, and it agrees with the settings of worker and gateway."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from deploy.alerts.__main__ import FILE, RULES, objects_of
from rpcb_trio._commands._app import parse
from rpcb_trio._commands._settings._sources import unknown_variables
from tests.blocks import blocks_of
from tests.kubernetes import KIT, ROOT, Object, check, kustomized, of_kind, pods, rendered, with_components
from tests.promql import faults_of

EXAMPLE = ROOT / "examples" / "kubernetes"
WHOLE = [*(KIT / name for name in ("worker", "gateway", "monitoring", "rabbitmq-trial", "trial")), EXAMPLE]
COMPONENTS = [
    ("keda-http",),
    ("keda-prometheus",),
    ("gpu",),
    ("shared-journal",),
    ("rabbitmq-operator",),
    ("keda-http", "gpu", "shared-journal", "rabbitmq-operator"),
]
OWN = [KIT / "worker", KIT / "gateway", EXAMPLE]
SCALER = {  # what KEDA's scaler rabbitmq reads of a trigger's metadata
    "protocol",
    "host",
    "hostFromEnv",
    "queueName",
    "vhostName",
    "mode",
    "value",
    "activationValue",
    "excludeUnacknowledged",
    "useRegex",
    "timeout",
    "unsafeSsl",
}


def name_of(value: object) -> str:
    return (
        value.name if isinstance(value, Path) else "+".join(value) if isinstance(value, tuple) else str(value)
    )


def own_pods(folder: Path) -> list[Object]:
    return [pod for pod in pods(rendered(folder)) if pod["containers"][0]["name"] in ("worker", "gateway")]


def variables(pod: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["containers"][0]["env"]}


def settings_of(pod: Object, objects: list[Object], folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """The settings that the pod's command comes to, from its variables and the file that is mounted."""
    for name, value in variables(pod).items():
        patch.setenv(name, value)
    [volume] = [each for each in pod["volumes"] if each["name"] == "config"]
    [config] = [
        each
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["name"] == volume["configMap"]["name"]
    ]
    for name, text in config["data"].items():
        (folder / name).write_text(text)
    argv = [each.replace("/etc/rpcb", str(folder)) for each in pod["containers"][0]["args"]]
    _, bound = parse(argv)
    assert unknown_variables() == []
    return bound.arguments


def seconds(pod: Object, hook: str) -> int:
    found: int = pod["containers"][0].get("lifecycle", {}).get(hook, {}).get("sleep", {}).get("seconds", 0)
    return found


@pytest.mark.parametrize("folder", WHOLE, ids=name_of)
def test_kubectl_renders_each_part_and_the_server_takes_what_it_makes(folder: Path) -> None:
    objects = rendered(folder)
    assert objects
    for each in objects:
        check(each)


@pytest.mark.parametrize("components", COMPONENTS, ids=name_of)
def test_components_fit_the_worker_alone_and_together(components: tuple[str, ...], tmp_path: Path) -> None:
    objects = with_components(tmp_path, *components)
    for each in objects:
        check(each)
    assert len(list(of_kind(objects, "Deployment"))) == 1


def test_a_key_that_is_not_in_the_schema_is_an_error_here() -> None:
    wrong = next(of_kind(rendered(KIT / "monitoring"), "PodMonitor"))
    wrong = {**wrong, "spec": {**wrong["spec"], "podMetricsEndpoint": []}}
    with pytest.raises(jsonschema_rs.ValidationError):
        check(wrong)


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_a_pod_s_command_its_variables_and_its_file_are_settings_that_there_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in own_pods(folder):
        assert settings_of(pod, rendered(folder), tmp_path, monkeypatch)


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_the_grace_period_is_longer_than_what_a_drain_may_take(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in own_pods(folder):
        found = settings_of(pod, rendered(folder), tmp_path, monkeypatch)["settings"]
        assert pod["terminationGracePeriodSeconds"] >= seconds(pod, "preStop") + found.drain_timeout + 5


def test_a_rollout_is_not_given_up_while_a_model_may_still_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [deployment] = of_kind(rendered(KIT / "worker"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    found = settings_of(pod, rendered(KIT / "worker"), tmp_path, monkeypatch)["settings"]
    assert deployment["spec"]["progressDeadlineSeconds"] > found.warm_up_timeout


@pytest.mark.parametrize("folder", [*OWN, KIT / "rabbitmq-trial"], ids=name_of)
def test_every_pod_may_run_in_a_namespace_of_the_restricted_standard(folder: Path) -> None:
    for pod in pods(rendered(folder)):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_the_root_is_read_only_and_what_is_written_has_a_volume(folder: Path) -> None:
    for pod in own_pods(folder):
        [container] = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
        assert "/tmp" in writable  # noqa: S108 - of the container
        journal = variables(pod).get("RPCB_JOURNAL")
        assert journal is None or str(Path(journal).parent) in writable  # a volume's own root is open to all


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_probes_ask_the_port_that_is_served_and_only_readiness_depends_on_the_broker(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in own_pods(folder):
        [container] = pod["containers"]
        [port] = container["ports"]
        found = settings_of(pod, rendered(folder), tmp_path, monkeypatch)
        served = found["probes"].health_port if container["name"] == "worker" else found["settings"].port
        assert port["containerPort"] == served
        asked = {
            probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")
        }
        assert {get["port"] for get in asked.values()} == {port["name"]}
        assert asked["startup"]["path"] == asked["liveness"]["path"] == "/livez"
        assert asked["readiness"]["path"] == "/readyz"


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_the_broker_s_address_is_a_file_of_a_secret_and_no_variable(folder: Path) -> None:
    for pod in own_pods(folder):
        given = variables(pod)
        assert not {"RPCB_URL", "RPCB_PASSWORD"} & given.keys()
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "rabbitmq"]
        [volume] = [each for each in pod["volumes"] if each["name"] == "rabbitmq"]
        [item] = volume["secret"]["items"]
        assert given["RPCB_URL_FILE"] == f"{mount['mountPath']}/{item['path']}"


@pytest.mark.parametrize("folder", OWN, ids=name_of)
def test_a_new_version_takes_over_without_a_gap_and_a_node_can_be_emptied(folder: Path) -> None:
    objects = rendered(folder)
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "PodDisruptionBudget")}
    for deployment in of_kind(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        budget = budgets[deployment["metadata"]["name"]]
        assert budget["maxUnavailable"] == 1
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for selector in (budget["selector"], deployment["spec"]["selector"]):
            assert selector["matchLabels"].items() <= labels.items()
            assert selector["matchLabels"]["app.kubernetes.io/component"] in ("worker", "gateway")


def test_every_pod_of_the_kit_is_scraped_on_its_own_port() -> None:
    monitors = list(of_kind(rendered(KIT / "monitoring"), "PodMonitor"))
    for folder in (KIT / "worker", KIT / "gateway", KIT / "rabbitmq-trial"):
        [workload] = [each for each in rendered(folder) if "template" in each.get("spec", {})]
        template = workload["spec"]["template"]
        [monitor] = [
            each
            for each in monitors
            if each["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        ]
        ports = {each["name"] for each in template["spec"]["containers"][0]["ports"]}
        assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_rules_and_the_dashboard_are_those_that_prometheus_and_grafana_get_without_kubernetes() -> None:
    assert FILE.read_text() == objects_of(RULES.read_text()), "run python -m deploy.alerts"
    objects = rendered(KIT / "monitoring")
    groups = [group for each in of_kind(objects, "PrometheusRule") for group in each["spec"]["groups"]]
    of_prometheus = yaml.safe_load(RULES.read_text())["groups"]
    assert sorted(groups, key=itemgetter("name")) == sorted(of_prometheus, key=itemgetter("name"))
    [dashboard] = of_kind(objects, "ConfigMap")
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert dashboard["data"] == {"rpcb.json": (ROOT / "deploy" / "dashboards" / "rpcb.json").read_text()}


@pytest.mark.parametrize("component", ["keda-http", "keda-prometheus"])
def test_keda_scales_the_worker_and_nobody_else_sets_how_many_there_are(
    component: str, tmp_path: Path
) -> None:
    objects = with_components(tmp_path, component)
    [scaled], [deployment] = of_kind(objects, "ScaledObject"), of_kind(objects, "Deployment")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    for trigger in scaled["spec"]["triggers"]:
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["type"] == "prometheus" or trigger["metadata"].keys() <= SCALER


def config_of(folder: Path, text: str, **keys: Any) -> str:
    """The name of the ConfigMap that the worker's pod mounts, with this text in rpcb.toml."""
    folder.mkdir()
    (folder / "rpcb.toml").write_text(text)
    generator = [{"name": "rpcb-worker", "behavior": "replace", "files": ["rpcb.toml"]}]
    objects = kustomized(folder, resources=[KIT / "worker"], configMapGenerator=generator, **keys)
    [config], [pod] = of_kind(objects, "ConfigMap"), pods(objects)
    assert config["data"] == {"rpcb.toml": text}
    mounted: str = next(each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "config")
    assert mounted == config["metadata"]["name"]
    return mounted


def test_another_rpcb_toml_replaces_the_pods_unless_its_config_map_keeps_its_name(
    tmp_path: Path,
) -> None:
    page = ROOT / "docs" / "how-to" / "kubernetes.md"
    [keeps] = [each.text for each in blocks_of(page, "yaml") if "disableNameSuffixHash" in each.text]
    assert config_of(tmp_path / "a", "max_batch_size = 8") != config_of(tmp_path / "b", "max_batch_size = 9")
    names = {
        config_of(tmp_path / f"{size}", f"max_batch_size = {size}", **yaml.safe_load(keeps))
        for size in (8, 9)
    }
    assert names == {"rpcb-worker"}


def test_what_keda_asks_prometheus_for_is_measured(tmp_path: Path) -> None:
    [scaled] = of_kind(with_components(tmp_path, "keda-prometheus"), "ScaledObject")
    [trigger] = scaled["spec"]["triggers"]
    assert faults_of(trigger["metadata"]["query"], ()) == []


def test_a_prefix_reaches_every_name_that_an_object_gives_to_another() -> None:
    objects = rendered(EXAMPLE)
    [scaled], [login] = of_kind(objects, "ScaledObject"), of_kind(objects, "TriggerAuthentication")
    names = {each["metadata"]["name"] for each in of_kind(objects, "Deployment")}
    assert scaled["spec"]["scaleTargetRef"]["name"] == "asr-rpcb-worker"
    assert names == {"asr-rpcb-worker", "rpcb-gateway"}
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]


def test_the_operator_s_own_secret_gives_the_address_where_it_makes_the_broker(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "rabbitmq-operator")
    [cluster] = of_kind(objects, "RabbitmqCluster")
    [pod] = pods([*of_kind(objects, "Deployment")])
    [volume] = [each for each in pod["volumes"] if each["name"] == "rabbitmq"]
    assert volume["secret"]["secretName"] == f"{cluster['metadata']['name']}-default-user"
    assert volume["secret"]["items"] == [{"key": "connection_string", "path": "url"}]


def test_a_worker_with_a_gpu_asks_for_one_computes_on_it_and_needs_no_spare_one(tmp_path: Path) -> None:
    [deployment] = of_kind(with_components(tmp_path, "gpu"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert variables(pod)["RPCB_DEVICE"] == "cuda:0"
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_shared_journal_is_one_volume_that_many_nodes_may_write(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "shared-journal")
    [claim], [pod] = of_kind(objects, "PersistentVolumeClaim"), list(pods(objects))
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "journal"]
    assert volume == {
        "name": "journal",
        "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]},
    }
