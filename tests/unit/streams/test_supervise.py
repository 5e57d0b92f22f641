"""The supervisor: restarts, giving up, stopping in order, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.supervise import (
    READY_FILE_VARIABLE,
    RestartPolicy,
    Role,
    RoleFailed,
    StopPolicy,
    Supervisor,
    report_ready,
)
from streams.tied_process import tied

ROOT = Path(__file__).resolve().parents[3]
QUICK = RestartPolicy(restarts=2, within_ms=60_000, first_pause_ms=1, longest_pause_ms=2)


def python(code: str) -> tuple[str, ...]:
    """A role that runs ``code``."""
    return (sys.executable, "-S", "-c", textwrap.dedent(code))


SLEEPER = python("import time; time.sleep(60)")
STUBBORN = python(
    """
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.environ["DRIFTLINE_READY_FILE"], "w").close()
    time.sleep(60)
    """
)


def says_when_it_stops(name: str, journal: Path) -> tuple[str, ...]:
    """A role that writes its name to the journal when it is asked to stop."""
    return python(
        f"""
        import os, signal, sys, time
        def stop(*_):
            with open({str(journal)!r}, "a") as file:
                file.write({name!r} + " ")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        open(os.environ["DRIFTLINE_READY_FILE"], "w").close()
        while True:
            time.sleep(1)
        """
    )


def soon(condition: Callable[[], bool]) -> bool:
    """Waits for a condition while the supervisor does nothing."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ends in time (a zombie that nobody waits for counts as ended)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_pauses_double_until_too_many_deaths_in_the_window() -> None:
    policy = RestartPolicy(restarts=5, within_ms=60_000, first_pause_ms=250, longest_pause_ms=2_000)
    deaths: list[int] = []
    pauses = []
    for now in range(0, 6_000, 1_000):
        deaths.append(now)
        pauses.append(policy.pause_ms(deaths, now))
    assert pauses == [250, 500, 1_000, 2_000, 2_000, None]


def test_old_deaths_are_forgotten() -> None:
    policy = RestartPolicy(restarts=1, within_ms=60_000, first_pause_ms=250)
    assert policy.pause_ms([0, 60_000], 60_000) == 250
    assert policy.pause_ms([1, 60_000], 60_000) is None


def test_a_role_that_dies_is_started_again(tmp_path: Path) -> None:
    journal = tmp_path / "starts"
    code = f"open({str(journal)!r}, 'a').write('x'); import time; time.sleep(60)"
    with Supervisor(tmp_path, restarts=QUICK) as supervisor:
        supervisor.start(Role("summarize-0", python(code)))

        def started(times: int) -> bool:
            return journal.exists() and len(journal.read_text()) >= times

        assert soon(lambda: started(1))
        first = supervisor.pids()["summarize-0"]
        os.kill(first, signal.SIGKILL)
        assert supervisor.run(until=lambda: started(2)) == 0
    assert supervisor.failure is None


def test_a_role_that_dies_too_often_stops_everything(tmp_path: Path) -> None:
    with Supervisor(tmp_path, restarts=QUICK) as supervisor:
        supervisor.start(Role("serve", SLEEPER))
        supervisor.start(Role("judge", python("import sys; sys.exit('no such topic')")))
        other = supervisor.pids()["serve"]
        assert supervisor.run() == 1
    failure = supervisor.failure
    assert failure is not None
    assert failure.role == "judge"
    assert "judge ended with exit code 1, 3 times within 60 s; it said" in str(failure)
    assert failure.last_lines.splitlines() == ["no such topic"] * 3
    assert gone(other)


def test_a_role_whose_state_is_in_its_memory_is_not_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Role("broker", SLEEPER, service=True, restart=False))
        os.kill(supervisor.pids()["broker"], signal.SIGKILL)
        assert supervisor.run() == 1
    assert "broker was killed by SIGKILL" in str(supervisor.failure)


def test_roles_stop_in_reverse_order_and_services_after_them(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with Supervisor(tmp_path) as supervisor:
        for name, service in (("broker", True), ("store", True), ("judge", False)):
            role = Role(name, says_when_it_stops(name, journal), service, True, tmp_path / name)
            supervisor.start(role)
            supervisor.wait_ready(name, 10_000)
    stopped = journal.read_text().split()
    assert stopped[0] == "judge"
    assert sorted(stopped) == ["broker", "judge", "store"]


def test_a_role_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    with Supervisor(tmp_path, stops=StopPolicy(roles_ms=200, all_ms=300)) as supervisor:
        supervisor.start(Role("judge", STUBBORN, ready_file=tmp_path / "ready"))
        supervisor.wait_ready("judge", 10_000)
        pid = supervisor.pids()["judge"]
    assert gone(pid)
    assert time.monotonic() - began < 5


def test_the_whole_stop_takes_less_than_ten_seconds() -> None:
    stops = StopPolicy()
    assert stops.roles_ms < stops.all_ms < 10_000


def test_ready_files_carry_what_a_role_has_to_say(tmp_path: Path) -> None:
    code = "import time, streams.supervise as s; s.report_ready('127.0.0.1:9'); time.sleep(60)"
    ready = tmp_path / "run" / "broker.ready"
    ready.parent.mkdir()
    ready.write_text("left by an earlier run")
    with Supervisor(tmp_path) as supervisor:
        argv = (sys.executable, "-c", code)
        environment = {"PYTHONPATH": str(ROOT)}
        supervisor.start(Role("broker", argv, ready_file=ready, environment=environment))
        assert supervisor.wait_ready("broker", 15_000) == "127.0.0.1:9"


def test_reporting_ready_to_nobody_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(READY_FILE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    report_ready("address")
    assert list(tmp_path.iterdir()) == []


def test_a_role_that_ends_while_starting_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        argv = python("import sys; sys.exit('port 8080 is in use')")
        supervisor.start(Role("serve", argv, ready_file=tmp_path / "r"))
        with pytest.raises(RoleFailed, match="serve ended with exit code 1 while starting") as e:
            supervisor.wait_ready("serve", 10_000)
    assert e.value.last_lines == "port 8080 is in use"


def test_a_role_that_is_never_ready_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Role("judge", SLEEPER, ready_file=tmp_path / "r"))
        with pytest.raises(RoleFailed, match=r"judge runs and was not ready within 0\.1 s"):
            supervisor.wait_ready("judge", 100)


def test_a_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Role("judge", ("/no/such/program",), ready_file=tmp_path / "r"))
        with pytest.raises(RoleFailed, match="cannot run /no/such/program: No such file"):
            supervisor.wait_ready("judge", 10_000)


def test_names_differ(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Role("judge", SLEEPER))
        with pytest.raises(ValueError, match="names must differ"):
            supervisor.start(Role("judge", SLEEPER))


PARENT = """
import sys
from pathlib import Path
from streams.supervise import Role, Supervisor
with Supervisor(Path(sys.argv[1])) as supervisor:
    for name in ("a", "b"):
        supervisor.start(Role(name, (sys.executable, "-S", "-c", "import time; time.sleep(60)")))
    Path(sys.argv[1], "partial").write_text(" ".join(map(str, supervisor.pids().values())))
    Path(sys.argv[1], "partial").rename(Path(sys.argv[1], "pids"))
    sys.exit(supervisor.run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_the_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    silent = subprocess.DEVNULL
    parent = subprocess.Popen(command, cwd=ROOT, stdout=silent, stderr=silent)
    try:
        assert soon((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(pids) == 2
        time.sleep(0.3)  # the launchers become the programs
        parent.send_signal(number)
        code = parent.wait(10)
    finally:
        parent.kill()
        parent.wait()
    assert all(gone(pid) for pid in pids)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0)


def test_a_tied_process_keeps_its_arguments_and_exit_code() -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    argv = tied([sys.executable, "-c", code, "a b", "", "-x"])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "['a b', '', '-x']\n")
