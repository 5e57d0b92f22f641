"""What a configuration file may say, and how what it may not say is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectors.policy import Automation
from streams.config import Config, ConfigError, load_config
from streams.inputs import InputFormat


def problems(tmp_path: Path, text: str | bytes, **environ: str) -> list[str]:
    """The lines with which a file is refused; the file's name is cut to ``f``."""
    file = tmp_path / "f"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ)
    return str(caught.value).replace(str(file), "f").splitlines()


def loaded(tmp_path: Path, text: str, **environ: str) -> Config:
    file = tmp_path / "f"
    file.write_text(text)
    return load_config(file, environ)


def test_no_file_and_an_empty_file_are_the_same_configuration(tmp_path: Path) -> None:
    nothing = load_config(None, {})
    assert nothing.inputs[0].topic == "predictions"
    for text in ("", "# only a comment\n", "---\n", "serve:\n", "null\n"):
        assert loaded(tmp_path, text) == nothing


def test_durations_are_written_with_units(tmp_path: Path) -> None:
    config = loaded(tmp_path, "time: {pane: 5s, windows: [30s, 1h30m], allowed_lateness: 1d}")
    assert config.time.pane_ms == 5_000
    assert config.time.windows_ms == (30_000, 5_400_000)
    assert config.time.allowed_lateness_ms == 86_400_000
    assert loaded(tmp_path, "time: {pane_ms: 5000}").time.pane_ms == 5_000


@pytest.mark.parametrize("pane", ["10", "-5s", "1.5s", "10 s", "s", "1s1h", "", "99999999999d"])
def test_durations_that_can_be_misread_are_refused(tmp_path: Path, pane: str) -> None:
    (line,) = problems(tmp_path, f"\ntime:\n  pane: {pane}\n")
    assert line.startswith("f:3: time.pane: ")


def test_unknown_keys_are_refused_with_their_line_and_a_suggestion(tmp_path: Path) -> None:
    text = "time:\n  windws: [1m]\nserv: {}\nserve:\n  qwxz: 1\n"
    lines = problems(tmp_path, text)
    assert lines[0] == "f:2: time.windws: unknown key `windws`; did you mean `windows`?"
    assert lines[1] == "f:3: serv: unknown key `serv`; did you mean `serve`?"
    assert "known here: host, port" in lines[2]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = 'inputs:\n  - {topic: a, format: jsn}\nserve:\n  port: "80"\n  host: [x]\n'
    lines = problems(tmp_path, text, DRIFTLINE__TIM__PANE="1s")
    assert [line.split(":")[0:2] for line in lines] == [
        ["variable DRIFTLINE__TIM__PANE", " unknown key `tim`; did you mean `time`?"],
        ["f", "5"],
        ["f", "2"],
        ["f", "4"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "f:2: `a` stands twice; the first is at f:1; keep one"),
        ("a: &x 1\n", "f:1: an anchor"),
        ("a: *x\n", "f:1: an alias"),
        ("a: !!python/object:os.system x\n", "f:1: a tag"),
        ("a: ! x\n", "f:1: a tag"),
        ("time:\n\tpane: 1s\n", "f:2: a tab; indent with spaces"),
        ("a: 1\n---\nb: 2\n", "f:2: a second document"),
        ("- a\n", "f:1: the top level is not a mapping"),
        ("? [a]\n: 1\n", "f:1: a key that is not text"),
        ("a: 'x\n", "f:2: not YAML: found unexpected end of stream"),
        ("a: " + "[" * 20_000, "f:1: nested deeper than 50 levels"),
        ("a: [" + "x," * 30_000 + "]", "f:1: more than 20,000 values"),
        (b"a: 1\nb: \xff\n", "f:2: not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "f:2: a control character"),
        (b"\x89PNG\r\n\x1a\n\x00", "f:1: not UTF-8 text"),
        (b"#" * 1_000_001, "f: larger than 1,000,000 bytes"),
        ('a: "\\UFFFFFFFF"\n', "f: not YAML"),
    ],
)
def test_dangerous_or_damaged_files_are_refused(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(said)


def test_a_file_that_names_a_billion_nodes_is_refused_at_once(tmp_path: Path) -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))
    (line,) = problems(tmp_path, "l0: &l0 [x]\n" + levels)
    assert line.startswith("f:1: an anchor")


def test_yes_no_on_off_are_words_not_booleans(tmp_path: Path) -> None:
    assert loaded(tmp_path, "policy: {automation: on}").policy.automation is Automation.ON
    assert loaded(tmp_path, "policy: {automation: off}").policy.automation is Automation.OFF
    (line,) = problems(tmp_path, "inputs: [{kafka_ts_fallback: yes}]")
    assert line == "f:1: inputs[0].kafka_ts_fallback: not true or false; write true or false"


@pytest.mark.parametrize("port", ["1:30", "010", "'80'", "8e1", "80.0", "true", ".inf", ".nan"])
def test_numbers_that_readers_disagree_about_are_refused(tmp_path: Path, port: str) -> None:
    (line,) = problems(tmp_path, f"serve: {{port: {port}}}")
    assert line.startswith("f:1: serve.port: ")


def test_text_stays_as_written_even_if_it_looks_like_a_number(tmp_path: Path) -> None:
    config = loaded(tmp_path, "inputs: [{topic: 0613}, {topic: 1e3}]\nmodels: {007: {}}")
    assert [each.topic for each in config.inputs] == ["0613", "1e3"]
    assert set(config.models) == {"007"}


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_thresholds_are_finite(tmp_path: Path, value: str) -> None:
    (line,) = problems(tmp_path, f"detect:\n  limits:\n    - {{detector: psi, above: {value}}}\n")
    assert line == "f:3: detect.limits[0].above: not a finite number"


def test_sections_refuse_themselves_at_the_key_they_mean(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "time:\n  pane: 7s\n  windows: [1m]\n")
    assert line.startswith("f:3: time.windows: 60000 ms is not a multiple of the pane")


def test_lateness_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    lines = problems(tmp_path, "time: {out_of_orderness: 1h, allowed_lateness: 1m}")
    assert lines[0].startswith("f:1: time.out_of_orderness: longer than allowed_lateness")
    lines = problems(tmp_path, "time: {allowed_lateness: 500d}")
    assert lines[0].startswith("f:1: time.allowed_lateness: longer than max_age")


def test_a_topic_is_read_once(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "inputs:\n  - topic: a\n  - topic: a\n")
    assert line == "f:3: inputs[1]: topic `a` stands twice; keep one"
    (line,) = problems(tmp_path, "inputs: []")
    assert line.startswith("f:1: inputs: no topic")


def test_variables_override_the_file_by_type(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "time: {pane_ms: 10000}\nserve: {port: 1}\ninputs: [{topic: a}]\n",
        DRIFTLINE__TIME__PANE="20s",
        DRIFTLINE__SERVE__PORT="9000",
        DRIFTLINE__INPUTS__0__FORMAT="arrow",
        DRIFTLINE__INPUTS__1__TOPIC="b",
        DRIFTLINE__KAFKA__PROPERTIES='{"sasl.password": "a: b #c"}',
        DRIFTLINE__STORE__PASSWORD="@: {not yaml",
        DRIFTLINE_OTHER="ignored",
    )
    assert config.time.pane_ms == 20_000
    assert config.serve.port == 9000
    assert [each.topic for each in config.inputs] == ["a", "b"]
    assert config.inputs[0].format is InputFormat.ARROW
    assert config.kafka.properties == {"sasl.password": "a: b #c"}
    assert config.store.password == "@: {not yaml"


def test_a_name_with_dots_is_given_in_capitals_as_shells_take_it(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "kafka: {bootstrap: 'k:1', properties: {sasl.username: file, ssl.ca.location: ca.crt}}",
        DRIFTLINE__KAFKA__PROPERTIES__SASL_USERNAME="shell",
        DRIFTLINE__KAFKA__PROPERTIES__SASL_PASSWORD="secret",
        **{"DRIFTLINE__KAFKA__PROPERTIES__ssl.endpoint.identification.algorithm": "https"},
    )
    assert config.kafka.properties == {
        "sasl.username": "shell",
        "sasl.password": "secret",
        "ssl.ca.location": "ca.crt",
        "ssl.endpoint.identification.algorithm": "https",
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DRIFTLINE__SERVE__PORT", "x", "serve.port: not a whole number"),
        ("DRIFTLINE__SERVE__PORT__X", "1", "nothing is below"),
        ("DRIFTLINE__INPUTS__7__TOPIC", "x", "item 7 of a list of 0"),
        ("DRIFTLINE__INPUTS", "[{", "not YAML"),
        ("DRIFTLINE__", "x", "unknown key"),
        ("DRIFTLINE__TIME__PANE", "5", "not a duration"),
    ],
)
def test_variables_that_mean_nothing_are_refused_by_name(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    (line,) = problems(tmp_path, "", **{name: value})
    assert line.startswith(f"variable {name}")
    assert said in line


def test_a_model_changes_only_the_keys_it_names(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "policy: {max_exhibits: 7, max_releases: 9}\n"
        "models:\n  gpt-4:\n    policy: {automation: dry_run, max_exhibits: 3}\n",
    )
    own, others = config.model("gpt-4").policy, config.model("other").policy
    assert (own.automation, own.max_exhibits, own.max_releases) == (Automation.DRY_RUN, 3, 9)
    assert (others.automation, others.max_exhibits) == (Automation.ON, 7)
    assert config.model("gpt-4").detect == config.detect


def test_errors_never_quote_values(tmp_path: Path) -> None:
    text = (
        "kafka: {bootstrap: 'http://user:hunter2@h:1'}\nserve: {port: hunter2}\n"
        "store: {url: 'https://u:hunter2@h:1'}\n"
    )
    assert "hunter2" not in " ".join(problems(tmp_path, text, DRIFTLINE__TIME__PANE="hunter2"))


@pytest.mark.parametrize("path", ["/dev/zero", "/", "missing.yaml"])
def test_what_is_no_regular_file_is_refused_without_reading_it(path: str) -> None:
    with pytest.raises(ConfigError):
        load_config(Path(path), {})


def test_the_configuration_does_not_print_its_secrets(tmp_path: Path) -> None:
    config = loaded(tmp_path, "kafka: {properties: {sasl.password: hunter2}}")
    assert "hunter2" not in f"{config!r} {config}"


def test_an_address_that_would_not_be_called_is_refused_where_it_stands(tmp_path: Path) -> None:
    """By every role and by `config check`, not first when deliver starts."""
    text = """
receivers:
  webhooks:
    - {name: a, url: "https://deployer.example.com/rollback"}
    - {name: b, url: "https://169.254.169.254/latest"}
    - {name: c, url: "http://user:hunter2@deployer.example.com/"}
  alertmanager:
    - {name: d, url: "http://127.0.0.1:9093"}
deployers:
  mlflow:
    - {name: e, url: "ftp://mlflow.internal", registered_model: m, models: [m]}
"""
    said = problems(tmp_path, text)
    assert [line.partition(": the URL")[0].partition(": only")[0][:60] for line in said] == [
        "f:5: receivers.webhooks[1].url: 169.254.169.254 is not publi",
        "f:6: receivers.webhooks[2].url",
        "f:8: receivers.alertmanager[0].url: 127.0.0.1:9093 is not pu",
        "f:11: deployers.mlflow[0].url",
    ]
    assert said[0].endswith("list it in egress.allow_private to call it")
    assert "hunter2" not in "".join(said)
    listed = text.partition("alertmanager")[0].replace(
        "http://user:hunter2@deployer.example.com/", "http://127.0.0.1:9093"
    )
    loaded(tmp_path, f'{listed}\negress: {{allow_private: ["169.254.0.0/16", "127.0.0.1:9093"]}}\n')
