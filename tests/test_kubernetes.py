"""The manifests of deploy/kubernetes: against Kubernetes' schemas, themselves, and the rest of the house.

There is no cluster here. What can go wrong before one has been asked is looked for.
"""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from corral.cli.app import app
from corral.launch.experiment import Experiment, load_experiment
from corral.protocol.header import MessageType
from corral.protocol.keys import Gate, Role, caller
from tests.support.command import BIN, ROOT
from tests.support.manifests import Connection, Manifests

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
MARGIN_S = 10
"""Seconds beyond what a process waits by its settings: its batch, its last words."""


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return Manifests()


@cache
def composed() -> dict[str, Any]:
    """The services of docker-compose.yml."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def experiment(manifests: Manifests, folder: Path, **settings: str) -> Experiment:
    """What a pod reads: the file of the ConfigMap, with its environment."""
    file = folder / "cartpole.toml"
    file.write_text(manifests.of_kind("ConfigMap")["experiment"]["data"]["cartpole.toml"])
    return load_experiment(file, environ=settings)


def environment(manifests: Manifests, workload: str) -> dict[str, str]:
    """The variables of a workload's container."""
    container = manifests.container(workload)
    maps = [manifests.of_kind("ConfigMap")[each["configMapRef"]["name"]]["data"] for each in container["envFrom"]]
    own = {each["name"]: each["value"] for each in container["env"]}
    return {name: value for each in [*maps, own] for name, value in each.items()}


@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_every_object_is_what_kubernetes_knows(manifests: Manifests, version: str) -> None:
    assert len(manifests.objects) == 16
    for each in manifests.objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_an_unknown_field_would_be_found(manifests: Manifests) -> None:
    wrong = copy.deepcopy(manifests.workloads["actor"])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_namespace_comes_first_and_holds_everything(manifests: Manifests) -> None:
    first, *others = manifests.objects
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "corral")
    assert {each["metadata"]["namespace"] for each in others} == {"corral"}


def test_every_selector_takes_exactly_whom_it_means(manifests: Manifests) -> None:
    for name, workload in manifests.workloads.items():
        assert manifests.selected(workload["spec"]["selector"]) == {name}
    for name, service in manifests.of_kind("Service").items():
        assert manifests.selected({"matchLabels": service["spec"]["selector"]}) == {name}
    for name, budget in manifests.of_kind("PodDisruptionBudget").items():
        assert manifests.selected(budget["spec"]["selector"]) == {name}
    assert manifests.workloads["learner"]["spec"]["serviceName"] in manifests.of_kind("Service")


def test_services_lead_to_ports_that_are_there(manifests: Manifests) -> None:
    for name, service in manifests.of_kind("Service").items():
        ports = {each["name"]: each["containerPort"] for each in manifests.container(name)["ports"]}
        for each in service["spec"]["ports"]:
            assert ports[each["targetPort"]] == each["port"]


def test_probes_ask_where_figures_are_shown(manifests: Manifests) -> None:
    shown = int(manifests.of_kind("ConfigMap")["settings"]["data"]["CORRAL_METRICS__PORT"])
    for name in manifests.workloads:
        container = manifests.container(name)
        assert {"name": "metrics", "containerPort": shown} in container["ports"]
        asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {each["port"] for each in asked.values()} == {"metrics"}
        assert [asked[kind]["path"] for kind in ("startup", "liveness", "readiness")] == [
            "/livez",
            "/livez",
            "/readyz",
        ]


def test_who_reaches_whom(manifests: Manifests) -> None:
    everybody = manifests.workloads.keys()
    assert manifests.isolated("Ingress") == manifests.isolated("Egress") == everybody
    assert manifests.connections() == {
        Connection("actor", "inference-server", 5555),
        Connection("inference-server", "learner", 5556),
        Connection("inference-server", "learner", 5557),
        Connection("learner", "inference-server", 5555),
    }


def test_from_outside_come_figures_and_names_alone(manifests: Manifests) -> None:
    outside = {
        (name, direction): [port["port"] for port in rule["ports"]]
        for name, policy in manifests.of_kind("NetworkPolicy").items()
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for rule in policy["spec"].get(direction, [])
        if any("podSelector" not in peer or "namespaceSelector" in peer for peer in rule[side])
    }
    assert outside == {("names", "egress"): [53, 53], ("metrics", "ingress"): [9100]}


def test_whom_a_pod_names_it_may_reach(manifests: Manifests) -> None:
    services = manifests.of_kind("Service")
    for name in manifests.workloads:
        for value in environment(manifests, name).values():
            if found := re.fullmatch(r"tcp://([a-z-]+):(\d+)", value):
                service, port = found[1], int(found[2])
                assert port in [each["port"] for each in services[service]["spec"]["ports"]]
                assert Connection(name, service, port) in manifests.connections()


def test_every_reference_is_made_here_or_on_the_page(manifests: Manifests) -> None:
    there = {("configMap", name) for name in manifests.of_kind("ConfigMap")} | {
        (kind, name) for kind, name in created(PAGE)
    }
    for name in manifests.workloads:
        pod = manifests.pod(name)
        claimed = manifests.workloads[name]["spec"].get("volumeClaimTemplates", [])
        volumes = {each["name"] for each in [*pod["volumes"], *(claim["metadata"] for claim in claimed)]}
        containers = [*pod["initContainers"], *pod["containers"]]
        assert {mount["name"] for each in containers for mount in each["volumeMounts"]} == volumes
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("configMap", volume["configMap"]["name"]) in there
            elif "secret" in volume:
                assert ("secret", volume["secret"]["secretName"]) in there
            else:
                assert volume.keys() == {"name", "emptyDir"}


def test_nobody_has_more_rights_than_it_needs(manifests: Manifests) -> None:
    for name in manifests.workloads:
        pod = manifests.pod(name)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"]  # CORRAL_... of a service would be taken for a setting, and refused
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() >= {"memory"}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_the_user_is_the_images(manifests: Manifests) -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    user = re.search(r"useradd --uid (\d+)", dockerfile)
    assert user
    assert {manifests.pod(name)["securityContext"]["runAsUser"] for name in manifests.workloads} == {int(user[1])}


def test_the_experiment_is_the_example(manifests: Manifests, tmp_path: Path) -> None:
    assert experiment(manifests, tmp_path) == load_experiment(ROOT / "examples" / "cartpole.toml", environ={})
    for name in manifests.workloads:  # every variable is a setting that exists
        settings = environment(manifests, name)
        settings.pop("CORRAL_SERVER_ADDRESS", None)  # an option's
        settings.pop("CORRAL_LOG_FORMAT")
        assert experiment(manifests, tmp_path, **settings).metrics.port == 9100


def test_command_lines_are_corrals(manifests: Manifests) -> None:
    command = typer.main.get_command(app)
    for name in manifests.workloads:
        container = manifests.container(name)
        role, *arguments = container["args"]
        known: Any = command.commands[role]  # type: ignore[attr-defined]
        with known.make_context(role, list(arguments)) as context:
            mounts = {each["mountPath"] for each in container["volumeMounts"]}
            assert str(context.params["experiment"].parent) in mounts
    assert 'ENTRYPOINT ["corral"]' in (ROOT / "docker" / "Dockerfile").read_text()


def test_time_to_end_is_what_ending_takes(manifests: Manifests, tmp_path: Path) -> None:
    grace = {name: manifests.pod(name)["terminationGracePeriodSeconds"] for name in manifests.workloads}
    assert grace["inference-server"] >= experiment(manifests, tmp_path).server.drain_s + MARGIN_S
    told = {name: composed()[name]["stop_grace_period"] for name in grace}
    assert {name: f"{seconds}s" for name, seconds in grace.items()} == told


def test_memory_is_as_much_as_in_compose(manifests: Manifests) -> None:
    for name in manifests.workloads:
        limit = manifests.container(name)["resources"]["limits"]["memory"]
        there = composed()[name]["deploy"]["resources"]["limits"]["memory"]
        default = re.search(r":-(\d+)([gm])}", there)
        assert default
        assert limit == f"{default[1]}{default[2].upper()}i"


def test_the_learner_is_one_and_keeps_its_folder(manifests: Manifests) -> None:
    spec = manifests.workloads["learner"]["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    mount = next(each for each in manifests.container("learner")["volumeMounts"] if each["name"] == "runs")
    assert claim["metadata"]["name"] == "runs"
    assert f"--run-folder={mount['mountPath']}/cartpole" in manifests.container("learner")["args"]


def test_a_rollout_of_the_server_begins_with_the_new_one(manifests: Manifests) -> None:
    rolling = manifests.workloads["inference-server"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def created(page: str) -> dict[tuple[str, str], dict[str, str]]:
    """(kind, name) of what the page's commands create -> each entry's name, and the file that it holds."""
    made = {}
    for line in re.findall(r"^kubectl --namespace corral create (.*)$", page, re.MULTILINE):
        words = shlex.split(line)
        kind, name = ("secret", words[2]) if words[:2] == ["secret", "generic"] else ("configMap", words[1])
        files = [word.removeprefix("--from-file=") for word in words if word.startswith("--from-file=")]
        made[kind, name] = {Path(file).name: file for file in files}
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's `corral` commands were run."""
    folder = tmp_path_factory.mktemp("page")
    for line in re.findall(r"^corral keys .*$", PAGE, re.MULTILINE):
        subprocess.run([str(BIN / "corral"), *shlex.split(line)[1:]], cwd=folder, check=True, timeout=60)
    return folder


def keys_in_pod(manifests: Manifests, workload: str, place: Path, folder: Path) -> Path:
    """The folder /keys of a workload's pod: what its init container copied, and what is mounted into it."""
    pod = manifests.pod(workload)
    (init,) = pod["initContainers"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    secret, keys = folder / "secret", folder / "keys"
    source = volumes["secret"]["secret"]
    fill(secret, created(PAGE)["secret", source["secretName"]], place, source["defaultMode"])
    keys.mkdir()
    assert {each["mountPath"] for each in init["volumeMounts"]} == {"/secret", "/keys"}
    script = init["command"][2].replace("/secret/", f"{secret}/").replace("/keys/", f"{keys}/")
    subprocess.run([*init["command"][:2], script], check=True, timeout=20)
    for mount in manifests.container(workload)["volumeMounts"]:
        if mount["mountPath"].startswith("/keys/"):
            name = volumes[mount["name"]]["configMap"]["name"]
            fill(keys / Path(mount["mountPath"]).name, created(PAGE)["configMap", name], place, 0o644)
    return keys


def fill(folder: Path, entries: dict[str, str], place: Path, mode: int) -> None:
    """A volume of a Secret or a ConfigMap: links to files in a folder that is exchanged as a whole."""
    data = folder / "..2026_11_26"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    for name, file in entries.items():
        (data / name).write_bytes((place / file).read_bytes())
        (data / name).chmod(mode)
        (folder / name).symlink_to(Path("..data") / name)


def test_keys_are_found_and_accepted(manifests: Manifests, place: Path, tmp_path: Path) -> None:
    def folder(workload: str) -> Path:
        (tmp_path / workload).mkdir()
        return keys_in_pod(manifests, workload, place, tmp_path / workload)

    actor, server, learner = folder("actor"), folder("inference-server"), folder("learner")
    at_server, at_learner = Gate(server, Role.SERVER), Gate(learner, Role.LEARNER)

    def admitted(gate: Gate, keys: Path, role: Role, towards: Role, type_: MessageType) -> bool:
        pair = caller(keys, role, towards)
        assert pair
        return gate.callback("", pair.public) and gate.check(pair.public.decode(), type_)

    assert admitted(at_server, actor, Role.ACTOR, Role.SERVER, MessageType.STEP)
    assert admitted(at_server, learner, Role.LEARNER, Role.SERVER, MessageType.STATUS)
    assert admitted(at_server, place / "keys", Role.OPERATOR, Role.SERVER, MessageType.SET)
    assert admitted(at_learner, server, Role.SERVER, Role.LEARNER, MessageType.UNROLLS)
    assert admitted(at_learner, place / "keys", Role.OPERATOR, Role.LEARNER, MessageType.COMMAND)
    stranger = caller(actor, Role.ACTOR, Role.SERVER)
    assert stranger
    assert not at_learner.callback("", stranger.public)


def test_each_pod_holds_its_own_secret_alone(manifests: Manifests) -> None:
    held = {}
    for name in manifests.workloads:
        (volume,) = [each["secret"] for each in manifests.pod(name)["volumes"] if "secret" in each]
        held[name] = [entry for entry in created(PAGE)["secret", volume["secretName"]] if entry.endswith("_secret")]
    assert held == {
        "inference-server": ["server.key_secret"],
        "learner": ["learner.key_secret"],
        "actor": ["actor.key_secret"],
    }
