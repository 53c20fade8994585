"""Kubernetes manifests, read as a cluster reads them: what refers to what, and who may reach whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support.command import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"

Object = dict[str, Any]


class Connection(NamedTuple):
    """One workload that may open connections to another one's port."""

    of: str
    to: str
    port: int


class Manifests:
    """Every object of a folder.

    Attributes:
      objects: all of them, in the order in which they are applied.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        files = sorted(folder.glob("*.yaml"))
        self.objects: list[Object] = [each for file in files for each in yaml.safe_load_all(file.read_text())]

    def of_kind(self, *kinds: str) -> dict[str, Object]:
        """Name -> object."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] in kinds}

    @property
    def workloads(self) -> dict[str, Object]:
        """What runs pods, by name."""
        return self.of_kind("Deployment", "StatefulSet")

    def pod(self, workload: str) -> Object:
        """The specification of a workload's pods."""
        spec: Object = self.workloads[workload]["spec"]["template"]["spec"]
        return spec

    def container(self, workload: str) -> Object:
        """The only container of a workload's pods."""
        (container,) = self.pod(workload)["containers"]
        found: Object = container
        return found

    def selected(self, selector: Object) -> set[str]:
        """The workloads whose pods a label selector takes; an empty one takes all."""
        wanted = selector.get("matchLabels", {}).items()
        assert selector.keys() <= {"matchLabels"}, "this reader knows no other way of selecting"
        return {
            name
            for name, each in self.workloads.items()
            if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
        }

    def connections(self) -> set[Connection]:
        """Who may open connections to whom within the namespace, as the network policies add up."""
        names = self.workloads.keys()
        return set(self._allowed("egress", names)) & set(self._allowed("ingress", names))

    def _allowed(self, direction: str, names: Any) -> Iterator[Connection]:
        kind = direction.capitalize()
        policies = [each["spec"] for each in self.of_kind("NetworkPolicy").values()]
        for policy in policies:
            for rule in policy.get(direction, []) if kind in policy["policyTypes"] else []:
                for peer in rule["to" if direction == "egress" else "from"]:
                    if "namespaceSelector" in peer:
                        continue  # somebody outside
                    for mine in self.selected(policy["podSelector"]):
                        for other in self.selected(peer["podSelector"]):
                            ends = (mine, other) if direction == "egress" else (other, mine)
                            yield from (Connection(*ends, port["port"]) for port in rule["ports"])

    def isolated(self, kind: str) -> set[str]:
        """The workloads that are let do nothing in a direction ("Ingress", "Egress") but what a policy names."""
        policies = [each["spec"] for each in self.of_kind("NetworkPolicy").values()]
        return {
            name
            for policy in policies
            if kind in policy["policyTypes"]
            for name in self.selected(policy["podSelector"])
        }
