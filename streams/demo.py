"""``driftline demo``: the whole line on real data, from a prediction log to an executed rollback.

Everything is real but the outside world: the broker and the store are the embedded ones, the
deployer and the pager are the examples, on free ports of loopback and with secrets made for this
run. The demo is a client of all of them. It ends with 0 only if the bad canary was rolled back
exactly once, nothing else was, and exactly the expected pages went out.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import structlog
from rich.console import Console

import examples
from streams.clock import wall_ms
from streams.demo_shell import Shell, shell_of
from streams.errors import UnavailableError, UserError
from streams.free_ports import free_ports
from streams.supervise import Role, Supervisor

if TYPE_CHECKING:
    from streams.config import Config
    from streams.demo_watch import Addresses

INTERRUPTED: Final = 130
REPLAY_S = 25.0
INPUT_PARTITIONS = 4
_CHILD_READY_S = 20.0

INTRO = """[bold]driftline demo[/bold]: five hours of real traffic, replayed in {seconds:.0f} s
  [bold]gpt-4[/bold]     GPT-4 of March 2023 (production), of June (canary); GPT-3.5 (shadow)
  [bold]car_loan[/bold]  loan decisions whose applicants change half-way
Watch: the canary is rolled back; it, the shadow and the loans page somebody;
nothing else is done."""


def run(keep: bool = False, directory: Path | None = None) -> int:
    """Run the demo; returns the exit code. ``keep``: leave everything running until Ctrl-C.
    ``directory``: where logs and the store go, new or empty; by default a temporary one, which is
    removed after a success. For the main thread."""
    console = Console()
    console.print(INTRO.format(seconds=REPLAY_S), highlight=False)
    samples = Path(examples.__path__[0])
    # Before the folder changes: what is printed is typed in this one.
    shell = shell_of(Path(sys.argv[0]), Path.cwd(), samples / "driftline.yaml")
    folder = _folder(directory)
    code = 1
    try:
        with contextlib.chdir(folder):
            code = _run(console, folder, samples, shell, keep)
    finally:
        if code == 0 and directory is None and not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _folder(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="driftline-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UserError("not empty", str(directory), "give --directory a new or empty folder")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"cannot be used: {why}", str(directory), "give another one") from None
    return directory.resolve()


def _run(console: Console, folder: Path, samples: Path, shell: Shell, keep: bool) -> int:
    logs = folder / "var" / "log"
    logs.mkdir(parents=True)
    with (
        (logs / "demo.log").open("w", encoding="utf-8") as log_file,
        _logging_to(log_file),
        Supervisor(logs) as supervisor,
    ):
        console.print(f"[dim]starting the line; logs are in {logs}[/dim]", soft_wrap=True)
        with console.status("starting") if console.is_terminal else contextlib.nullcontext():
            config, addresses = _start(supervisor, folder, samples)
        from streams.up import EMBEDDED_PROMISE

        console.print(
            f"[dim]{EMBEDDED_PROMISE}[/dim]", highlight=False, soft_wrap=not console.is_terminal
        )
        console.print(
            f"watch it in a browser: {addresses.serve}/console/", highlight=False, soft_wrap=True
        )
        return _play(console, supervisor, config, addresses, folder, samples, shell, keep)


@contextlib.contextmanager
def _logging_to(file: TextIO) -> Iterator[None]:
    """Log lines go to a file: the terminal shows the demo."""
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _start(supervisor: Supervisor, folder: Path, samples: Path) -> tuple[Config, Addresses]:
    """Start the outside world, then driftline. Returns its configuration and the addresses."""
    rollback_key = _secret(folder / "rollback.key", f"whsec_{_random_base64()}")
    pager_key = _secret(folder / "pager.key", secrets.token_hex(16))
    python = (sys.executable, "-m")
    supervisor.start(
        Role(
            "deployer",
            (
                *python,
                "examples.deployer",
                *("--state-file", str(folder / "deployer.db"), "--secret-file", str(rollback_key)),
                *("--deploy", "gpt-4=0314:0613", "--deploy", "car_loan=1"),
            ),
            service=True,
            restart=False,
        )
    )
    supervisor.start(Role("pager", (*python, "examples.pager"), service=True, restart=False))

    from sinks.clickhouse import PASSWORD_VARIABLE
    from streams.config import load_config
    from streams.demo_traffic import LOANS
    from streams.demo_watch import Addresses
    from streams.profile import profile
    from streams.profile_selection import Selection
    from streams.up import LOG_FOLDER, start_all

    reference = folder / "car_loan.reference.json"
    profile(str(samples / "car_loan_reference.parquet"), LOANS, Selection(), reference)
    store_port, serve_port = free_ports(2)
    addresses = Addresses(
        serve=f"http://127.0.0.1:{serve_port}",
        store=f"http://127.0.0.1:{store_port}",
        deployer=_address_in(LOG_FOLDER / "deployer.log"),
        pager=_address_in(LOG_FOLDER / "pager.log"),
    )
    hosts = [url.removeprefix("http://") for url in (addresses.deployer, addresses.pager)]
    path = folder / "demo.yaml"
    path.write_text(
        (samples / "demo.yaml").read_text(encoding="utf-8")
        + f"""
# Of this run:
references:
  files: ["{reference.name}"]
store: {{path: var/store, http_port: {store_port}}}
# The replay is of hours ago, and a PASS on it is to be seen.
serve: {{port: {serve_port}, max_data_age: 1d}}
egress:
  allow_private: ["{hosts[0]}", "{hosts[1]}"]
receivers:
  webhooks:
    - name: deployer
      url: {addresses.deployer}/rollback
      secret: {{file: {rollback_key.name}}}
  pagerduty:
    - name: pager
      url: {addresses.pager}/v2/enqueue
      routing_key: {{file: {pager_key.name}}}
""",
        encoding="utf-8",
    )
    # Whatever the environment is set to, the demo is the demo.
    for name in list(os.environ):
        if name.startswith("DRIFTLINE__") or name == PASSWORD_VARIABLE:
            del os.environ[name]
    config = load_config(path, {})
    return start_all(config, path, supervisor, INPUT_PARTITIONS), addresses


def _play(
    console: Console,
    supervisor: Supervisor,
    config: Config,
    addresses: Addresses,
    folder: Path,
    samples: Path,
    shell: Shell,
    keep: bool,
) -> int:
    import confluent_kafka

    from streams import demo_traffic
    from streams.demo_play import Play, Report
    from streams.demo_view import View
    from streams.demo_watch import Watcher
    from streams.kafka import input_consumer, producer
    from streams.replay import Replay, unread_by

    start_ms = demo_traffic.start_of(wall_ms())
    messages = demo_traffic.traffic(samples, start_ms)
    topics = [item.topic for item in config.inputs]
    group = confluent_kafka.Consumer(input_consumer(config.kafka, config.kafka.topic("summarize")))
    replay = Replay(
        messages,
        confluent_kafka.Producer(producer(config.kafka, "replay")),
        length_ms=demo_traffic.LENGTH_MS,
        seconds=REPLAY_S,
        unread=unread_by(group, topics, INPUT_PARTITIONS),
        partitions=INPUT_PARTITIONS,
    )
    with contextlib.closing(group), Watcher(addresses) as watcher:
        with View(console, sum(message.events for message in messages)) as view:
            play = Play(replay, watcher, view, start_ms)
            report = Report(console, play, addresses, folder, shell, keep)

            def over() -> bool:
                if not play.over and play.step():
                    view.close()
                    report.show()
                return play.over and not keep

            supervisor.run(over)
        if supervisor.failure is not None:
            raise supervisor.failure
        if not play.over:
            return INTERRUPTED
        return 1 if play.failures else 0


def _random_base64() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _secret(path: Path, text: str) -> Path:
    """A file that only we can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _address_in(log: Path) -> str:
    """What one of the examples says first: its address."""
    deadline = time.monotonic() + _CHILD_READY_S
    while time.monotonic() < deadline:
        first, newline, _ = log.read_text(encoding="utf-8").partition("\n")
        if newline and first.startswith("http://"):
            return first
        if newline:
            break
        time.sleep(0.05)
    raise UnavailableError("did not start", str(log), "its log says why")
