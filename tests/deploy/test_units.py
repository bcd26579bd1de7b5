"""The systemd units and the Kubernetes manifest. Goal: what they say of a node is true of it.

Method: both are read as their tools read them, and held to the node's own ports, routes, settings and image.
"""

from __future__ import annotations

import configparser
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import app, serve
from app.settings import Settings
from app.web.listening import NAMES
from app.web.server import DRAIN_S
from tests.test_frame import instructions
from tests.web.public_port import public_port

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTINGS = {f"ADJUDGE_{name.upper()}" for name in Settings.model_fields}
PORTS = {"public": 8000, "admin": 8001}


def test_the_ports_are_those_of_the_command() -> None:
    defaults = inspect.signature(serve).parameters
    assert {"public": defaults["port"].default, "admin": defaults["admin_port"].default} == PORTS


# --- systemd


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names as they are written
    parser.read_string((DEPLOY / "systemd" / name).read_text())
    return parser


def test_the_sockets_are_handed_over_under_the_names_that_a_node_knows() -> None:
    sockets = {name: unit(name)["Socket"] for name in ("adjudge.socket", "adjudge-admin.socket")}
    assert {each["FileDescriptorName"] for each in sockets.values()} == set(NAMES)
    for each in sockets.values():
        assert int(each["ListenStream"].rpartition(":")[2]) == PORTS[each["FileDescriptorName"]]
    assert sockets["adjudge-admin.socket"]["ListenStream"].startswith("127.0.0.1:")
    assert unit("adjudge.service")["Service"]["Sockets"].split() == list(sockets)


def test_the_service_starts_a_command_that_exists_and_has_time_to_stop() -> None:
    service = unit("adjudge.service")["Service"]
    _, command, *options = shlex.split(service["ExecStart"])
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in told for option in options if option.startswith("--"))
    assert int(service["TimeoutStopSec"]) > 2 * DRAIN_S


# --- Kubernetes


@pytest.fixture(scope="module")
def things() -> dict[tuple[str, str], Any]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes" / "adjudge.yml").read_text())
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def node_of(things: dict[tuple[str, str], Any]) -> tuple[Any, Any]:
    pod = things["StatefulSet", "adjudge"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return pod, container


def test_the_services_lead_to_the_nodes_ports(things: dict[tuple[str, str], Any]) -> None:
    _, node = node_of(things)
    assert {port["name"]: port["containerPort"] for port in node["ports"]} == PORTS
    labels = things["StatefulSet", "adjudge"]["spec"]["template"]["metadata"]["labels"]
    for (kind, _), thing in things.items():
        if kind == "Service":
            assert thing["spec"]["selector"].items() <= labels.items()
            assert {port["targetPort"] for port in thing["spec"]["ports"]} <= PORTS.keys()
    assert ("Service", things["StatefulSet", "adjudge"]["spec"]["serviceName"]) in things


def test_the_probes_ask_what_a_ready_node_answers(things: dict[tuple[str, str], Any], tmp_path: Path) -> None:
    _, node = node_of(things)
    probes = {name: node[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"public"}
    with public_port(tmp_path) as port:
        assert {port.get(probe["path"]).status for probe in probes.values()} == {200}
        port.node.stopping = True
        assert port.get(probes["readinessProbe"]["path"]).status == 503
        assert port.get(probes["livenessProbe"]["path"]).status == 200, (
            "a node that stops is not to be killed"
        )


def test_it_runs_the_image_as_the_dockerfile_makes_it(things: dict[tuple[str, str], Any]) -> None:
    pod, node = node_of(things)
    context = pod["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == instructions("USER")[-1]
    mounts = {mount["name"]: mount["mountPath"] for mount in node["volumeMounts"]}
    assert mounts == {"data": "/data", "tmp": "/tmp"}
    assert f'"{mounts["data"]}"' in instructions("ENTRYPOINT")[0]
    assert node["securityContext"]["readOnlyRootFilesystem"] is True
    [claim] = things["StatefulSet", "adjudge"]["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert things["StatefulSet", "adjudge"]["spec"]["replicas"] == 1, "a node has one volume and one writer"
    assert {variable["name"] for variable in node["env"]} <= SETTINGS


def test_it_has_time_to_stop_and_a_bound_to_what_it_takes(things: dict[tuple[str, str], Any]) -> None:
    pod, node = node_of(things)
    waits = int(node["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + 2 * DRAIN_S
    assert node["resources"]["limits"] == node["resources"]["requests"], "never throttled, last to be evicted"
    assert re.fullmatch(r"\d+Gi", node["resources"]["limits"]["memory"])
