"""A real Apache Kafka, one KRaft node on loopback, started from its jars with this machine's Java.

``python deploy/kafka/server.py`` runs one until Ctrl-C and prints its address. In tests::

    with RealKafka() as kafka:
        connect(kafka.address)
        kafka.kill()      # kill -9, as in a crash
        kafka.start()     # same data, same ports
        kafka.pause()     # frozen: connections stay, nothing is answered
        kafka.resume()

Start takes about 4 s. Data live in a temporary folder and go with the process that made it. The
broker listens thrice: ``address`` for everybody, ``secure_address`` for `USER` with `PASSWORD`
(SASL PLAIN without TLS), and at ``distant_port`` for clients that come through a proxy, which they
are told to look for at ``proxy_port``. What it cannot show: anything that needs a second broker.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from string import Template
from typing import Self

if __package__ in (None, ""):  # run as a file: the folders of the repository are the packages
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.kafka.fetch import VERSION, FetchFailed, server_jars
from streams.free_ports import free_ports
from streams.tied_process import end, tied

USER = "driftline"
PASSWORD = "for-tests-only"
"""Guards nothing: the broker is on loopback, and open on its other port."""
MIN_JAVA = 17
_TEMPLATE = Path(__file__).with_name("server.properties.template")
_JVM = (
    "-Xmx512m",
    "-Xms128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts twice as fast; a test does not live to see C2's code
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_START_S = 180.0
_STOP_S = 10.0
_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)  # api key, version, correlation id, no client id


class KafkaCannotRun(Exception):
    """There is no real Kafka on this machine: the text says what is missing and what to do."""


def java() -> str:
    """The path of a Java that can run Kafka's broker. Raises `KafkaCannotRun` without one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    path = found or shutil.which("java")
    if path is None:
        raise KafkaCannotRun(f"no java on PATH: install a Java {MIN_JAVA} or newer runtime")
    # `release` beside the runtime names its version without starting a JVM.
    release = Path(path).resolve().parents[1] / "release"
    if release.is_file():
        for line in release.read_text(encoding="utf-8").splitlines():
            if line.startswith("JAVA_VERSION="):
                major = int(line.split('"')[1].split(".")[0])
                if major < MIN_JAVA:
                    raise KafkaCannotRun(f"java is version {major}: Kafka {VERSION} needs 17")
    return path


class RealKafka:
    """One broker with its data. Not for several threads at once.

    ``keep``: a folder that outlives the object, else data go to a temporary one.
    """

    def __init__(self, keep: Path | None = None) -> None:
        self._java = java()
        try:
            jars = server_jars()
        except FetchFailed as error:
            raise KafkaCannotRun(str(error)) from error
        self._class_path = os.pathsep.join(str(jar) for jar in jars)
        self._process: subprocess.Popen[bytes] | None = None
        self._own = keep is None
        self.folder = Path(tempfile.mkdtemp(prefix="driftline-kafka-")) if keep is None else keep
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(5)
        self._port, self._secure_port, self._controller_port, self.distant_port = ports[:4]
        self.proxy_port = ports[4]

    @property
    def address(self) -> str:
        """``host:port`` of the open listener."""
        return f"127.0.0.1:{self._port}"

    @property
    def secure_address(self) -> str:
        """``host:port`` of the listener that asks for `USER` and `PASSWORD`."""
        return f"127.0.0.1:{self._secure_port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the broker and returns when it answers; after `kill` or `stop` with the old data.

        Raises `KafkaCannotRun` with the broker's last lines if it does not come up.
        """
        if self._process is not None:
            return
        properties = self._format()
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                tied([*self._java_command(), "kafka.Kafka", str(properties)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for the one who runs us
            )
        deadline = time.monotonic() + _START_S
        while not _answers(self._port):
            gone = self._process.poll() is not None
            if gone or time.monotonic() > deadline:
                what = "ended" if gone else f"gave no answer within {_START_S:.0f} s"
                tail = self.last_lines()
                self.kill()
                raise KafkaCannotRun(f"Kafka {what} while starting; its last lines: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shuts the broker down in order (SIGTERM), and kills it if that takes too long."""
        if self._process is None:
            return
        self.resume()
        end(self._process, _STOP_S)
        self._process = None

    def kill(self) -> None:
        """kill -9: what a crash leaves is what `start` finds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freezes the broker (SIGSTOP): the kernel still accepts, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stops the broker and removes its data, unless they were to be kept."""
        self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Nobody will read these data again: no need to close the log files in order.
        if self._own:
            self.kill()
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _java_command(self) -> list[str]:
        return [self._java, *_JVM, "-cp", self._class_path]

    def _format(self) -> Path:
        """Writes the settings; gives the storage its identity when it is new."""
        properties = self.folder / "server.properties"
        data = self.folder / "data"
        properties.write_text(
            Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
                port=self._port,
                secure_port=self._secure_port,
                controller_port=self._controller_port,
                distant_port=self.distant_port,
                proxy_port=self.proxy_port,
                data_dir=data,
                user=USER,
                password=PASSWORD,
            ),
            encoding="utf-8",
        )
        if (data / "meta.properties").is_file():
            return properties
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self._java_command(), "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*command, f"--cluster-id={cluster}", "-c", str(properties)],
            capture_output=True,
            timeout=_START_S,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
            raise KafkaCannotRun(f"Kafka's storage could not be formatted: {' | '.join(said)}")
        return properties

    def last_lines(self) -> str:
        log = self.folder / "broker.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(lines[-5:]) or "none"


def _answers(port: int) -> bool:
    """Whether a Kafka broker answers an ApiVersions request without error: then it serves."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            reply = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(reply) == 10 and reply[8:10] == b"\0\0"  # length, correlation id, error code


def main() -> int:
    try:
        with RealKafka() as kafka:
            print(f"Apache Kafka {VERSION} at {kafka.address} (Ctrl-C stops it, its data go)")
            print(f"with SASL PLAIN, user {USER}, password {PASSWORD}: {kafka.secure_address}")
            sys.stdout.flush()
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            while kafka.running():
                time.sleep(0.2)
            sys.stderr.write(
                f"error: Kafka ended by itself; its last lines: {kafka.last_lines()}\n"
            )
            return 1
    except KeyboardInterrupt:
        return 0
    except KafkaCannotRun as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
