"""The compose file: fits the specification, takes away what is not needed, and agrees with the other files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.checkpoints.kafka import TOPIC_CONFIG
from service.settings import Settings, load_settings
from tests import kafka_broker
from tests.deploy.files import DASHBOARD, DEPLOY, PROMETHEUS, ROOT, read_yaml, run_tool

COMPOSE = read_yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = ("worker", "producer")
SCRIPT = (DEPLOY / "kafka" / "create-topics.sh").read_text()


def test_the_file_fits_the_compose_specification() -> None:
    done = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need_and_bounded_resources(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    assert "docker.sock" not in json.dumps(service)


@pytest.mark.parametrize("name", OWN)
def test_our_own_image_runs_unprivileged_on_a_file_system_that_it_cannot_write(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    # numba keeps what it has compiled, so its folder has to be where something can be kept.
    assert "NUMBA_CACHE_DIR=/tmp/" in (ROOT / "Dockerfile").read_text()


def test_every_port_is_bound_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_an_image_has_a_version_and_a_place_for_its_digest() -> None:
    """A variable names the image whole, so that a digest can stand behind the tag."""
    for service in SERVICES.values():
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z0-9./-]+:[a-z0-9.-]+\}", service["image"]), service[
            "image"
        ]
        assert ":latest" not in service["image"]


def test_the_worker_waits_for_a_healthy_broker_and_for_its_topics() -> None:
    assert SERVICES["worker"]["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert "test" in SERVICES["kafka"]["healthcheck"]
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    # Longer than Docker's ten seconds: a checkpoint is written before the end.
    assert SERVICES["worker"]["stop_grace_period"] == "30s"


def test_the_broker_is_the_version_that_the_tests_run_against() -> None:
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"]
    assert SERVICES["kafka"]["image"].endswith(f"apache/kafka:{kafka_broker.VERSION}}}")


@pytest.mark.parametrize("name", OWN)
def test_our_settings_are_understood(name: str) -> None:
    image = dict(re.findall(r"\b(ONWARD_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    settings = load_settings(environment=image | SERVICES[name]["environment"])
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.http.host == "0.0.0.0", "the container's network is the border"
    assert settings.checkpoint.store == "kafka"


def test_the_page_and_the_metrics_are_where_the_other_files_look_for_them() -> None:
    port = Settings().http.port
    assert f"ONWARD_HTTP__PORT={port}" in (ROOT / "Dockerfile").read_text()
    assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text()
    assert [published.rsplit(":", 1)[1] for published in SERVICES["worker"]["ports"]] == [str(port)]
    (job,) = read_yaml(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert (discovery["names"], discovery["port"]) == (["worker"], port)
    assert "worker" in SERVICES


def test_every_file_that_is_mounted_is_there() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount.split(":") for mount in mounts if mount.startswith(".")]
    assert len(files) == 5
    for source, _, mode in files:
        assert (DEPLOY / source).exists(), source
        assert mode == "ro"
    assert {mount.split(":")[0] for mount in mounts if not mount.startswith(".")} == set(COMPOSE["volumes"])


def test_the_series_that_the_demo_plays_are_shipped() -> None:
    played = [word for word in SERVICES["producer"]["command"] if word.startswith("/data/")]
    assert played
    for path in played:
        assert (
            DEPLOY / SERVICES["producer"]["volumes"][0].split(":")[0] / path.removeprefix("/data/")
        ).is_file()


def test_the_topics_are_those_of_the_settings() -> None:
    created = set(re.findall(r'create "\$\{\w+:-([\w.-]+)\}"', SCRIPT))
    topics = Settings().topics
    names = {topics.events, topics.labels, topics.predictions, topics.dead_letters, topics.checkpoints}
    assert created == names


def test_the_topics_are_made_as_asked(tmp_path: Path) -> None:
    """The script is run with a program in the place of Kafka's that writes down how it was called."""
    calls = tmp_path / "calls"
    tool = tmp_path / "kafka-topics.sh"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BOOTSTRAP_SERVERS": "kafka:9092", "PARTITIONS": "12"}
    subprocess.run(["sh", str(DEPLOY / "kafka" / "create-topics.sh")], env=environment, check=True)
    asked = calls.read_text().splitlines()
    assert len(asked) == 5
    for call in asked:
        assert call.startswith("--bootstrap-server kafka:9092 --create --if-not-exists --topic onward.")
        assert "--partitions 12 --replication-factor 1" in call


def test_the_checkpoints_topic_is_made_as_its_store_needs_it() -> None:
    after = SCRIPT.split("onward.checkpoints")[-1]
    assert dict(re.findall(r"--config (\S+)=(\S+)", after)) == TOPIC_CONFIG


def test_grafana_is_given_the_source_that_the_dashboard_asks() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = read_yaml(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    # Grafana takes four times this for a rate, so it must be the interval at which there are values.
    interval = read_yaml(PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = read_yaml(provisioning / "dashboards" / "onward.yaml")["providers"]
    mounts = [mount.split(":") for mount in SERVICES["grafana"]["volumes"]]
    assert [provider["options"]["path"]] == [to for of, to, *_ in mounts if of == "./grafana/dashboards"]
