"""The Helm chart: linted, rendered, and checked against the schemas of what it makes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.access import ROLES
from deploy.compose.producer import TOPICS
from streams.config import build_config
from streams.yaml_file import parse_yaml

pytestmark = pytest.mark.timeout(1800)  # building helm takes some minutes, once

CUSTOM = ("keda.sh", "monitoring.coreos.com")
EVERYTHING = (
    "references.configMap=references",
    "references.files={fraud.json}",
    "serve.ingress.enabled=true",
    "serve.ingress.tlsSecret=tls",
    "serve.tlsSecret=serve-tls",
    "serve.hookSecret.name=hook",
    "serviceMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "deliverSecrets={pagerduty}",
    "store.readerPasswordSecret.name=reader",
    "store.ca.secret=store-ca",
    "roles.summarize.autoscaling.enabled=true",
    "roles.judge.autoscaling.enabled=true",
    "roles.judge.autoscaling.kind=hpa",
)

Render = Callable[..., list[Any]]


def test_the_chart_passes_helm_lint(
    have: Callable[[str], Path], run: Callable[..., str], chart: Path
) -> None:
    needed = ("--set", "kafka.bootstrap=k:9094,store.url=https://driftline@c:8443")
    assert "0 chart(s) failed" in run(have("helm"), "lint", "--strict", chart, *needed)


@pytest.mark.parametrize(
    "values",
    [
        (),
        EVERYTHING,
        ("kafka.securityProtocol=SSL", *EVERYTHING),
        ("kafka.securityProtocol=PLAINTEXT", "serve.open=true", *EVERYTHING),
        ("kafka.securityProtocol=SASL_PLAINTEXT", "kafka.user.usernameKey=user"),
    ],
)
def test_what_the_chart_makes_is_valid(
    render: Render, valid: Callable[[Sequence[Any]], None], values: tuple[str, ...]
) -> None:
    resources = render(*values)
    valid([each for each in resources if _group(each) not in CUSTOM])


def test_custom_resources_pass_their_validators(
    render: Render, have: Callable[[str], Path], run: Callable[..., str], repository: Path
) -> None:
    validator = repository / "tests" / "deploy" / "custom_resources.mjs"
    folder = have("custom-resources")
    found = [
        each
        for values in (EVERYTHING, ("kafka.securityProtocol=SSL", *EVERYTHING))
        for each in render(*values)
        if _group(each) in CUSTOM
    ]
    assert {each["kind"] for each in found} == {
        *("ScaledObject", "TriggerAuthentication"),
        *("ServiceMonitor", "PodMonitor", "PrometheusRule"),
    }
    assert run("node", validator, folder, text=json.dumps(found)).strip() == f"{len(found)} valid"
    wrong = [{**each, "spec": {**each["spec"], "endpoints": "none"}} for each in found]
    run("node", validator, folder, text=json.dumps(wrong), fails=True)


def test_every_role_is_a_deployment_that_runs_as_nobody_on_a_read_only_root(render: Render) -> None:
    deployments = _kind(render(), "Deployment")
    assert {
        each["spec"]["template"]["spec"]["containers"][0]["args"][0] for each in deployments
    } == set(ROLES)
    for each in [*deployments, *_kind(render(*EVERYTHING), "Job")]:
        pod = each["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_deployments_are_asked_whether_they_are_ready_and_alive(render: Render) -> None:
    for each in _kind(render(), "Deployment"):
        container = each["spec"]["template"]["spec"]["containers"][0]
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]
            port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
            assert port in ports or "exec" in asked


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_the_configuration_in_the_chart_is_one_that_driftline_takes(
    render: Render, protocol: str
) -> None:
    resources = render(f"kafka.securityProtocol={protocol}", *EVERYTHING)
    for text in _configurations(resources):
        config = build_config(parse_yaml(text.encode(), "chart"), {})
        assert config.kafka.servers == "kafka:9094"
        assert config.kafka.properties["security.protocol"] == protocol
        assert config.metrics.port == 9464
        assert config.references.files == ("/etc/driftline/references/fraud.json",)


def test_what_the_configuration_names_is_mounted_where_it_is_read(render: Render) -> None:
    """A file that is named and not mounted would stop the role at its start."""
    for protocol in ("SSL", "SASL_SSL"):
        resources = render(f"kafka.securityProtocol={protocol}", *EVERYTHING)
        plain = yaml.safe_load(_configurations(resources)[0])
        named = [plain["kafka"]["properties"]["ssl.ca.location"]]
        if protocol == "SSL":
            named.append(plain["kafka"]["properties"]["ssl.key.location"])
        for each in [*_kind(resources, "Deployment"), *_kind(resources, "Job")]:
            assert set(named) <= _files(each)
        by_role = {_role(each): _files(each) for each in _kind(resources, "Deployment")}
        for key in ("token_file", "tls_cert_file", "tls_key_file"):
            assert plain["serve"][key] in by_role["serve"]
        for role in ("store", "serve"):
            assert plain["store"]["password_file"] in by_role[role]
            assert plain["store"]["ca_file"] in by_role[role]


def test_only_the_role_that_needs_a_secret_has_it(render: Render) -> None:
    resources = render(*EVERYTHING)
    secrets = {
        _role(each): {
            volume["secret"]["secretName"]
            for volume in each["spec"]["template"]["spec"]["volumes"]
            if "secret" in volume
        }
        for each in _kind(resources, "Deployment")
    }
    ca = "driftline-cluster-ca-cert"
    assert secrets == {
        "summarize": {ca},
        "judge": {ca},
        "deliver": {ca, "pagerduty"},
        "store": {ca, "driftline-clickhouse", "store-ca", "reader"},
        "serve": {ca, "driftline-clickhouse", "store-ca", "driftline-tokens", "serve-tls"},
    }


def test_no_rendered_resource_holds_a_secret(render: Render) -> None:
    assert not _kind(render(*EVERYTHING), "Secret")


def test_a_scaled_role_leaves_its_replicas_to_the_scaler_and_stays_below_the_partitions(
    render: Render,
) -> None:
    resources = render(*EVERYTHING)
    replicas = {
        _role(each): each["spec"].get("replicas") for each in _kind(resources, "Deployment")
    }
    assert replicas["summarize"] is None
    assert replicas["judge"] is None
    assert replicas["deliver"] == 2
    scaled = _kind(resources, "ScaledObject")[0]["spec"]
    assert scaled["minReplicaCount"] >= 1
    trigger = scaled["triggers"][0]["metadata"]
    assert trigger["consumerGroup"] == "driftline.summarize"
    assert trigger["topic"] == "predictions"
    assert trigger["allowIdleConsumers"] == "false"


@pytest.mark.parametrize("kind", ["keda", "hpa"])
def test_no_more_judges_are_asked_for_than_there_are_partitions(render: Render, kind: str) -> None:
    judge = "roles.judge.autoscaling"
    for partitions, wanted in ((5, (2, 5)), (1, (1, 1)), (40, (2, 12))):
        (made,) = [
            each["spec"]
            for each in render(
                f"config.kafka.partitions={partitions}",
                *(f"{judge}.enabled=true", f"{judge}.kind={kind}", f"{judge}.max=12"),
            )
            if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")
        ]
        names = ("minReplicaCount", "maxReplicaCount")
        names = names if kind == "keda" else ("minReplicas", "maxReplicas")
        assert tuple(made[name] for name in names) == wanted


def test_only_deliver_may_call_the_outside(render: Render) -> None:
    ports = {
        each["metadata"]["name"]: {
            port["port"] for rule in each["spec"]["egress"] for port in rule["ports"]
        }
        for each in _kind(render(), "NetworkPolicy")
    }
    assert {name for name, open_ports in ports.items() if 443 in open_ports} == {"dl-deliver"}
    assert {name for name, open_ports in ports.items() if 8443 in open_ports} == {
        "dl-store",
        "dl-serve",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "kafka.bootstrap=",
        "store.url=https://user:password@clickhouse:8443",
        "roles.summarize.replicas=0",
        "roles.summarise.replicas=2",
        "roles.summarize.autoscaling.min=0",
        "kafka.securityProtocol=TLS",
        "config.kafka.bootstrap=elsewhere:9092",
        "config.tiem.pane=5s",
        "config.judge.blind_aftre=3m",
        "config.inputs[0].topik=predictions",
        "config.metrics.port=9000",
        "prometheusRule.runbook=https://wiki.example/a b",
    ],
)
def test_wrong_values_are_refused(
    have: Callable[[str], Path], run: Callable[..., str], chart: Path, wrong: str
) -> None:
    good = ("--set", "kafka.bootstrap=k:9094", "--set", "store.url=https://driftline@c:8443")
    said = run(have("helm"), "template", "dl", chart, *good, "--set", wrong, fails=True)
    # By its name or by that of the section it is in, so that nobody has to search.
    assert any(part in said for part in wrong.partition("=")[0].split(".")[-2:])


def test_the_boards_in_the_chart_are_the_generated_ones(render: Render, repository: Path) -> None:
    boards = [
        each
        for each in _kind(render(), "ConfigMap")
        if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    generated = {
        path.name: path for path in (repository / "dashboards" / "generated").glob("*.json")
    }
    shipped = {name: text for board in boards for name, text in board["data"].items()}
    assert set(shipped) == set(generated)
    for name, path in generated.items():
        assert json.loads(shipped[name]) == json.loads(path.read_text(encoding="utf-8"))
        assert len(shipped[name]) < 900_000, "a ConfigMap holds a megabyte at most"


def test_the_composition_is_one_that_compose_takes(
    have: Callable[[str], Path], run: Callable[..., str], repository: Path
) -> None:
    compose = repository / "deploy" / "compose.yaml"
    text = run(have("docker-compose"), "-f", compose, "config", "--format", "json")
    services = json.loads(text)["services"]
    assert set(ROLES) <= set(services)
    assert len(TOPICS) == 2
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} is open to the network"
        if name in ROLES:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def test_the_dockerfile_passes_hadolint(
    have: Callable[[str], Path], run: Callable[..., str], repository: Path
) -> None:
    run(have("hadolint"), repository / "Dockerfile")
    assert "DL3" in run(
        have("hadolint"), "-", text="FROM debian\nRUN apt-get install x\n", fails=True
    )


def test_alert_rules_pass_promtool(
    have: Callable[[str], Path], run: Callable[..., str], chart: Path
) -> None:
    promtool = have("promtool")
    run(promtool, "check", "rules", chart / "files" / "alerts.yaml")
    run(promtool, "test", "rules", Path(__file__).with_name("alerts_test.yaml"))


def _group(resource: Any) -> str:
    return str(resource["apiVersion"]).rpartition("/")[0]


def _kind(resources: Sequence[Any], kind: str) -> list[Any]:
    return [each for each in resources if each["kind"] == kind]


def _role(deployment: Any) -> str:
    return str(deployment["metadata"]["labels"]["app.kubernetes.io/component"])


def _configurations(resources: Sequence[Any]) -> list[str]:
    return [
        each["data"]["driftline.yaml"]
        for each in _kind(resources, "ConfigMap")
        if "driftline.yaml" in each["data"]
    ]


def _files(workload: Any) -> set[str]:
    """Paths of the files that come from Secrets with named items."""
    pod = workload["spec"]["template"]["spec"]
    where = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    return {
        f"{where[volume['name']]}/{item['path']}"
        for volume in pod["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    }


def test_every_alert_leads_to_its_section_of_the_runbook(repository: Path, chart: Path) -> None:
    runbook = (repository / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", runbook, flags=re.MULTILINE)
    sections = {re.sub(r"[^a-z0-9-]", "", each.lower().replace(" ", "-")) for each in headings}
    assert len(sections) == len(headings)
    alerts = yaml.safe_load((chart / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    led = {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in alerts["groups"]
        for rule in group["rules"]
    }
    folder = repository / "deploy" / "grafana" / "provisioning" / "alerting"
    rules = yaml.safe_load((folder / "rules.yaml").read_text(encoding="utf-8"))
    led |= {
        rule["title"]: rule["annotations"]["runbook"]
        for group in rules["groups"]
        for rule in group["rules"]
    }
    assert set(led) == set(headings), "a section and an alert for each"
    assert len(led) > 20
    for name, address in led.items():
        page, _, section = address.partition("#")
        assert page == "docs/runbook.md"
        assert section in sections, name
    inside = re.findall(r"\]\(#([^)]*)\)", runbook)
    assert inside
    assert set(inside) <= sections


def test_the_chart_says_where_the_runbook_is_published(render: Render) -> None:
    where = "https://wiki.example/driftline"
    (made,) = _kind(
        render("prometheusRule.enabled=true", f"prometheusRule.runbook={where}"), "PrometheusRule"
    )
    for rule in made["spec"]["groups"][0]["rules"]:
        assert rule["annotations"]["runbook_url"] == f"{where}#{rule['alert'].lower()}"


def test_alerts_ask_for_metrics_that_there_are(repository: Path, chart: Path) -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("streams/metrics_*.py", "sinks/board_metrics.py")
        for path in repository.glob(pattern)
    )
    text = (chart / "files" / "alerts.yaml").read_text(encoding="utf-8")
    for name in set(re.findall(r"\bdriftline_\w+", text)):
        made = re.sub(r"_(total|bucket)$", "", name)
        known = f'"{made}"' in sources or (
            made.startswith("driftline_intake_")
            and f'counter("{made.removeprefix("driftline_intake_")}"' in sources
        )
        assert known, name
