"""Deployers that ask: the manifests of deploy/ decide rightly on what the real API answers.

Each manifest is read, its request is made of the real application, and its own conditions are
evaluated on the answer, for every verdict there can be.
"""

from __future__ import annotations

import ast
import json
import operator
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from starlette.testclient import TestClient

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.api import ApiParts, Readiness, create_app
from sinks.deployers.json_patch import find
from sinks.verdict_board import VerdictBoard
from tests.contract.kubernetes_objects import BAD, workload
from tests.contract.kubernetes_stand_in import Status as Refusal
from tests.contract.kubernetes_stand_in import applied

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NOW = 1_700_000_000_000
TOKEN = "a-token-for-reading"
FLAGGER_TOKEN = "change-this-token"


class Measured(StrEnum):
    """What a deployer makes of an answer."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True)
class Case:
    """What driftline knows, and what a deployer must make of it."""

    name: str
    status: Status | None
    expected: Measured
    age_ms: int = 0
    ready: bool = True


CASES = (
    Case("pass", Status.PASS, Measured.SUCCESSFUL),
    Case("fail", Status.FAIL, Measured.FAILED),
    Case("insufficient", Status.INSUFFICIENT, Measured.INCONCLUSIVE),
    Case("blind", Status.BLIND, Measured.INCONCLUSIVE),
    Case("hold", Status.HOLD, Measured.INCONCLUSIVE),
    Case("unheard_of", None, Measured.INCONCLUSIVE),
    Case("old_pass", Status.PASS, Measured.INCONCLUSIVE, age_ms=3_600_000),
    Case("old_fail", Status.FAIL, Measured.INCONCLUSIVE, age_ms=3_600_000),
    Case("still_reading", Status.FAIL, Measured.INCONCLUSIVE, ready=False),
)
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def api(case: Case) -> TestClient:
    """The application with one verdict on the canary, and a passing one on production."""
    board = VerdictBoard()
    production = Release("fraud", "0314", Role.PRODUCTION)
    base = Verdict(
        production, Status.PASS, "fine", 1, NOW, NOW - 60_000, 60_000, "", 9, nan, nan, (), 7
    )
    board.update(base, NOW)
    if case.status is not None:
        canary = Release("fraud", BAD, Role.CANARY)
        board.update(
            replace(base, release=canary, status=case.status, baseline_version="0314"),
            NOW - case.age_ms,
        )
    parts = ApiParts(
        board=board,
        now_ms=lambda: NOW,
        max_age_ms=300_000,
        ready=lambda: Readiness(case.ready, "reading"),
        findings=lambda query: [],
        tokens=(TOKEN, FLAGGER_TOKEN),
    )
    return TestClient(create_app(parts))


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text()))


def condition_holds(condition: str, result: Any) -> bool:
    """Evaluate a condition of Argo (expr), as far as the shipped ones go.

    Raises TypeError where expr reports an error, which Argo counts as an error of the measurement.
    """
    tree = ast.parse(condition.replace("&&", " and ").replace("||", " or "), mode="eval")
    return bool(_value(tree.body, result))


_COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _value(node: ast.expr, result: Any) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Name("result"):
            return result
        case ast.Attribute(of, name):
            return _value(of, result)[name]
        case ast.BoolOp(ast.And(), values):
            return all(_value(each, result) for each in values)
        case ast.BoolOp(ast.Or(), values):
            return any(_value(each, result) for each in values)
        case ast.Compare(left, [how], [right]):
            one, other = _value(left, result), _value(right, result)
            if type(one) is not type(other):
                raise TypeError("expr compares values of one type only")
            return _COMPARE[type(how)](one, other)
    raise AssertionError(f"not known to this evaluator: {ast.dump(node)}")


def measured(metric: dict[str, Any], reply: httpx2.Response) -> Measured:
    """Argo's rule: an error, else failed, else successful, else inconclusive."""
    if not 200 <= reply.status_code < 300:
        return Measured.ERROR
    assert metric["provider"]["web"]["jsonPath"] == "{$}"
    try:
        if condition_holds(metric["failureCondition"], reply.json()):
            return Measured.FAILED
        if condition_holds(metric["successCondition"], reply.json()):
            return Measured.SUCCESSFUL
    except (TypeError, KeyError):
        return Measured.ERROR
    return Measured.INCONCLUSIVE


def argo_metric(arguments: dict[str, str]) -> dict[str, Any]:
    """The web metric of the shipped template with its arguments filled in."""
    (template,) = (
        each
        for each in documents("argo-rollouts/analysis-templates.yaml")
        if each["metadata"]["name"] == "driftline-verdict"
    )
    asked = {each["name"]: each.get("value", "") for each in template["spec"]["args"]}
    text = json.dumps(template["spec"]["metrics"][0])
    for name, value in (asked | arguments).items():
        text = text.replace("{{args." + name + "}}", value)
    assert "{{" not in text
    metric: dict[str, Any] = json.loads(text)
    return metric


def ask(client: TestClient, metric: dict[str, Any]) -> httpx2.Response:
    web = metric["provider"]["web"]
    parts = urlsplit(web["url"])
    headers = {header["key"]: header["value"] for header in web["headers"]}
    return client.get(f"{parts.path}?{parts.query}", headers=headers)


@every_case
def test_argo_measures_what_driftline_says(case: Case) -> None:
    metric = argo_metric({"model": "fraud", "version": BAD, "token": TOKEN})
    assert measured(metric, ask(api(case), metric)) is case.expected


def test_argo_counts_a_wrong_token_as_an_error_and_bears_it_for_a_while() -> None:
    metric = argo_metric({"model": "fraud", "version": BAD, "token": "wrong"})
    assert measured(metric, ask(api(CASES[0]), metric)) is Measured.ERROR
    assert metric["consecutiveErrorLimit"] >= 10
    assert metric["failureLimit"] == 0
    assert metric["inconclusiveLimit"] > 0


def test_the_conditions_are_not_true_of_an_answer_of_another_shape() -> None:
    metric = argo_metric({"model": "fraud", "version": BAD, "token": TOKEN})
    for answer in ({}, {"verdict": True}, {"verdict": None}, {"verdict": "PASS"}):
        reply = httpx2.Response(200, json=answer)
        assert measured(metric, reply) in (Measured.ERROR, Measured.INCONCLUSIVE)


def test_the_rollout_passes_the_arguments_that_the_template_asks_for() -> None:
    (rollout,) = documents("argo-rollouts/rollout.yaml")
    analysis = find(rollout, "/spec/strategy/canary/analysis")
    (template,) = (
        each
        for each in documents("argo-rollouts/analysis-templates.yaml")
        if each["metadata"]["name"] == analysis["templates"][0]["templateName"]
    )
    needed = {
        each["name"]
        for each in template["spec"]["args"]
        if "value" not in each and "valueFrom" not in each
    }
    assert {each["name"] for each in analysis["args"]} == needed
    # The version is read from where the deployer argo_rollouts finds it as well.
    assert "labels['version']" in json.dumps(analysis["args"])
    assert find(rollout, "/spec/template/metadata/labels/version")


class Job(StrEnum):
    """What the script of the job is told, call by call."""

    PASS = "0"
    FAIL = "1"
    NO_ANSWER = "2"
    INCONCLUSIVE = "3"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([Job.PASS], 0),
        ([Job.FAIL], 1),
        ([Job.INCONCLUSIVE, Job.NO_ANSWER, Job.PASS], 0),
        ([Job.NO_ANSWER, Job.INCONCLUSIVE, Job.FAIL], 1),
    ],
)
def test_the_job_asks_until_there_is_an_answer(
    tmp_path: Path, answers: list[Job], code: int
) -> None:
    (template,) = (
        each
        for each in documents("argo-rollouts/analysis-templates.yaml")
        if each["metadata"]["name"] == "driftline-verdict-job"
    )
    container = find(template, "/spec/metrics/0/provider/job/spec/template/spec/containers/0")
    # A driftline that answers from a list, and a sleep that takes no time.
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    for name, script in (
        (
            "driftline",
            'printf "%s\\n" "$*" >> "$HERE/calls"; code=$(head -n 1 "$HERE/answers");'
            ' sed -i 1d "$HERE/answers"; exit "$code"',
        ),
        ("sleep", "exit 0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HERE": str(tmp_path),
        "MODEL": "a model",
        "VERSION": BAD,
        "DRIFTLINE": "http://d:8780",
    }
    done = subprocess.run(container["command"], env=environment, timeout=30, check=False)
    assert done.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(answers)
    assert calls[0] == (
        f"verdict a model {BAD} --role canary --url http://d:8780"
        " --token-file /token/token --exit-code"
    )


def hooks() -> Iterator[dict[str, Any]]:
    (canary,) = documents("flagger/canary.yaml")
    yield from canary["spec"]["analysis"]["webhooks"]


def called(client: TestClient, hook: dict[str, Any], **metadata: str) -> httpx2.Response:
    """Flagger's call of a hook: no headers but its own, and this body."""
    body = {
        "name": "fraud",
        "namespace": "serving",
        "phase": "Progressing",
        "checksum": "1",
        "metadata": hook["metadata"] | metadata,
    }
    return client.post(urlsplit(hook["url"]).path, json=body)


@every_case
def test_flagger_rolls_back_on_fail_alone_and_advances_on_pass_alone(case: Case) -> None:
    client = api(case)
    taken = {hook["type"]: 200 <= called(client, hook).status_code <= 202 for hook in hooks()}
    assert taken == {
        "rollback": case.expected is Measured.FAILED,
        "confirm-traffic-increase": case.expected is Measured.SUCCESSFUL,
        "confirm-promotion": case.expected is Measured.SUCCESSFUL,
    }


def test_flagger_is_told_why_in_words_and_needs_the_token() -> None:
    client = api(CASES[2])
    for hook in hooks():
        assert "fine" in called(client, hook).json()["reason"]
        assert called(client, hook, token="wrong").status_code == 401
        assert called(client, hook, version="").status_code == 400
        # Another version's FAIL must not roll this one back.
        assert called(api(CASES[1]), hook, version="0999").status_code == 409


def test_flagger_waits_no_longer_for_its_hooks_than_its_interval() -> None:
    (canary,) = documents("flagger/canary.yaml")
    assert canary["spec"]["analysis"]["interval"] == "1m"
    assert sum(int(hook["timeout"].removesuffix("s")) for hook in hooks()) < 60


def spinnaker_status(stage: dict[str, Any], reply: httpx2.Response) -> Measured:
    """Orca's rule for a polled webhook stage: of the text at statusJsonPath, the lists decide."""
    if reply.status_code in stage["retryStatusCodes"]:
        return Measured.INCONCLUSIVE
    if reply.status_code >= 400:
        return Measured.ERROR
    assert stage["statusJsonPath"].startswith("$.")
    text = str(find(reply.json(), stage["statusJsonPath"].replace("$.", "/"))).upper()
    if text in stage["successStatuses"].upper().split(","):
        return Measured.SUCCESSFUL
    if text in stage["terminalStatuses"].upper().split(","):
        return Measured.FAILED
    return Measured.INCONCLUSIVE


@every_case
def test_spinnaker_reads_the_polled_status(case: Case) -> None:
    pipeline = json.loads((DEPLOY / "spinnaker/canary-pipeline.json").read_text())
    (stage,) = pipeline["stages"]
    assert (stage["method"], stage["statusUrlResolution"]) == ("GET", "getMethod")
    url = stage["url"].replace("${parameters.version}", BAD).replace("${parameters.driftline}", "")
    client = api(case)
    reply = client.get(url, headers=stage["customHeaders"])
    assert spinnaker_status(stage, reply) is case.expected
    # Without a token it asks again until the stage's time is over; it never succeeds.
    assert spinnaker_status(stage, client.get(url)) is Measured.INCONCLUSIVE


def test_spinnaker_rolls_back_what_it_is_told_to_leave_and_nothing_else() -> None:
    pipeline = json.loads((DEPLOY / "spinnaker/rollback-pipeline.json").read_text())
    (stage,) = pipeline["stages"]
    canary = workload("Deployment", "fraud-canary", BAD)
    for version, leaves in ((BAD, True), ("0999", False)):
        text = json.dumps(stage["patchBody"]).replace("${trigger['payload']['version']}", version)
        if leaves:
            once = applied(canary, json.loads(text))
            assert find(once, "/spec/replicas") == 0
            assert applied(once, json.loads(text)) == once
        else:
            with pytest.raises(Refusal):
                applied(canary, json.loads(text))
    (trigger,) = pipeline["triggers"]
    assert {"model", "secret"} <= trigger["payloadConstraints"].keys()


def test_every_manifest_can_be_read() -> None:
    read = 0
    folders = (
        "argo-rollouts",
        "flagger",
        "kserve",
        "seldon",
        "kubernetes",
        "gateway-api",
        "istio",
    )
    for path in sorted(path for folder in folders for path in (DEPLOY / folder).glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            assert {"apiVersion", "kind", "metadata"} <= each.keys(), path
            read += 1
    assert read >= 19
