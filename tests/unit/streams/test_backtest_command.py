"""The command ``driftline backtest``: options, report, JSON, picture, one line for each error."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from detectors.action import ActionKind
from detectors.release import Release, Role
from detectors.verdict import Status
from streams.backtest_command import Options, budget_of, policies_of
from streams.backtest_outcome import (
    Acted,
    Alarm,
    AlarmKind,
    BacktestOutcome,
    Counted,
    PolicyOutcome,
    ReleaseCourse,
)
from streams.backtest_plot import svg
from streams.cli import main
from streams.config import load_config
from streams.errors import UserError

START_MS = 1_700_000_000_000
CONFIG = """
time: {pane: 10s, windows: [1m]}
judge: {learn_events: 0, confirm_fails: 1}
detect:
  min_events: 20
  limits: [{detector: mean_worse, above: 0.5, columns: scores.*, against: production}]
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Five minutes of production, and of a canary whose scores are low."""
    lines = []
    for at_ms in range(0, 300_000, 1_000):
        for version, role, low in (("1", "production", 0.0), ("[red]2", "canary", 0.8)):
            score = 0.9 + 0.01 * (at_ms // 1_000 % 7) - low
            lines.append(
                {
                    "ts": START_MS + at_ms,
                    "model": "m",
                    "version": version,
                    "role": role,
                    "prediction": 1,
                    "scores": {"s": score},
                }
            )
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "c.yaml").write_text(CONFIG)
    return path


def test_the_report_says_what_was_found_and_names_cannot_style_it(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = recorded.parent / "c.yaml"
    assert main(["backtest", str(config), "--events", str(recorded), "--bad", "m@[red]2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "detections 1" in said
    assert "rollbacks 1" in said
    assert "m@[red]2 (canary)" in said
    assert "until the rollback" in said


def test_json_holds_every_policy_with_its_alarms_and_exposure(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded.parent
    (folder / "strict.yaml").write_text("detect: {min_events: 30}\n")
    (folder / "off.yaml").write_text("policy: {automation: 'off'}\n")
    arguments = ["backtest", str(folder / "c.yaml"), "--events", str(recorded), "--json"]
    for name in ("strict.yaml", "off.yaml"):
        arguments += ["--policy", str(folder / name)]
    assert main([*arguments, "--bad", "m@[red]2"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    strict, off = outcome["policies"]
    assert [strict["name"], off["name"]] == ["strict.yaml", "off.yaml"]
    assert [strict["rollbacks"], off["rollbacks"]] == [1, 0]
    assert strict["exposures"][0]["ended_by"] == "rollback"
    assert 0.4 < strict["exposures"][0]["share"] < 0.6
    assert off["alarms"][0]["kind"] == "detection"
    assert off["counted"]["events"] == 600


def test_a_policy_is_laid_over_the_configuration(tmp_path: Path) -> None:
    base, above = tmp_path / "c.yaml", tmp_path / "p.yaml"
    base.write_text(CONFIG)
    above.write_text("detect: {min_events: 77}\nmodels: {m: {judge: {learn_events: 5}}}\n")
    (policy,) = policies_of(base, load_config(base, {}), [above])
    assert policy.config.detect.min_events == 77
    assert policy.config.detect.limits == load_config(base, {}).detect.limits
    assert policy.config.time.windows_ms == (60_000,)
    assert policy.config.model("m").judge.learn_events == 5
    assert policy.config.model("m").judge.confirm_fails == 1


def test_options_say_what_is_known() -> None:
    options = Options(
        "e", changes=["a@b@2023-11-14T22:13:20Z", "n@never", "s@1700000000"], bad=["m@2"]
    )
    truth = options.truth()
    assert truth.changes == {"a@b": START_MS, "n": None, "s": START_MS}
    assert truth.bad == {("m", "2")}
    assert budget_of("0.5 per 7d").allowed(14 * 86_400_000) == 1.0


@pytest.mark.parametrize(
    "options",
    [
        Options("e", changes=["m"]),
        Options("e", changes=["m@soon"]),
        Options("e", changes=["@1700000000"]),
        Options("e", bad=["m@"]),
    ],
)
def test_an_option_that_is_not_understood_is_refused(options: Options) -> None:
    with pytest.raises(UserError, match=r"--change|--bad"):
        options.truth()


@pytest.mark.parametrize("text", ["", "1", "1 per month", "-1 per 3d", "nan per 3d", "1 per 0s"])
def test_a_budget_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        budget_of(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--events"),
        (["--events", "nothing-here"], "no such file, and no Kafka"),
        (["--events", "EVENTS", "--plot", "a.gif"], "neither .svg nor .png"),
        (["--events", "EVENTS", "--policy", "missing.yaml"], "no such file"),
        (["--events", "EVENTS", "--rename", "a=b"], "as they are"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    arguments: list[str], said: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(recorded) if each == "EVENTS" else each for each in arguments]
    assert main(["backtest", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_recording_of_which_nothing_can_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.ndjson"
    path.write_text('{"a": 1}\n')
    assert main(["backtest", "--events", str(path)]) == 2
    assert "no event could be read: model is missing" in capsys.readouterr().err


def test_the_picture_is_written_and_is_xml(recorded: Path) -> None:
    plot = recorded.parent / "p.svg"
    config = recorded.parent / "c.yaml"
    arguments = ["backtest", str(config), "--events", str(recorded), "--plot", str(plot)]
    assert main(arguments) == 0
    root = ET.fromstring(plot.read_bytes())  # noqa: S314 - it is our own picture
    texts = [item.text for item in root.iter() if item.text]
    assert "m@[red]2 (canary)" in texts


def test_names_cannot_break_out_of_the_picture() -> None:
    evil = Release('</text><script>alert("x")</script>&\x00\x1b\ud800', "1", Role.CANARY)
    policy = PolicyOutcome(
        name="<b>",
        counted=Counted(),
        scores=(),
        rollbacks=1,
        pages=0,
        alarms=(Alarm(evil, AlarmKind.FALSE_ALARM, START_MS + 5, None, None, "why"),),
        acted=(Acted(evil, ActionKind.ROLLBACK, START_MS + 5, True, "note"),),
        exposures=(),
        courses=(ReleaseCourse(evil, START_MS, START_MS + 9, 3, ((START_MS + 5, Status.FAIL),)),),
    )
    outcome = BacktestOutcome("r<", START_MS, START_MS, ((evil.model, START_MS),), (), (policy,))
    root = ET.fromstring(svg(outcome).encode())  # noqa: S314 - it is our own picture
    assert not [item for item in root.iter() if item.tag.endswith(("script", "}b"))]
