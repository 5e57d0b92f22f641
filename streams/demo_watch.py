"""What the demo sees of the line from outside: it asks serve, the store, the deployer and the pager
over HTTP, as anybody could."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from detectors.release import Release, Role

_TIMEOUT_S = 5.0
_LOOK_EVERY_S = 0.5
_ASK_STORE_EVERY = 2

_FIGURES = """
SELECT model, version, role,
       argMax(p95_latency_ms, sequence), argMax(p99_latency_ms, sequence),
       argMax(columns, sequence),
       argMinIf(toUnixTimestamp64Milli(window_start) + window_ms, as_of, status = 'fail')
FROM driftline.verdicts FINAL GROUP BY model, version, role
"""
_ACTIONS = """
SELECT model, version, role, kind, receiver, state, toUnixTimestamp64Milli(at)
FROM driftline.actions FINAL ORDER BY at, step
"""
_INTAKE = "SELECT sum(events), sum(dead), sum(late), sum(capped) FROM driftline.intake FINAL"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts answer, as ``http://host:port``."""

    serve: str
    store: str
    deployer: str
    pager: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One release as serve tells it. ``reason``: what was found; ``rollback``: the state of its
    rollback, "" if there is none."""

    status: str
    reason: str
    events: int
    rollback: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """One release as the store tells it. ``first_fail_ms``: end of the window, in event
    time, that brought its first FAIL; 0 if it has none."""

    p95_ms: float | None
    p99_ms: float | None
    columns: tuple[str, ...]
    first_fail_ms: int


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table of actions."""

    release: Release
    kind: str
    receiver: str
    state: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Request:
    """What the deployer did with one request."""

    at_ms: int
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Page:
    """One event that the pager took."""

    action: str
    incident: str
    severity: str
    summary: str


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of the events: they are counted, or it is said why not."""

    events: int = 0
    dead: int = 0
    late: int = 0
    capped: int = 0

    @property
    def total(self) -> int:
        return self.events + self.dead + self.late + self.capped


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything seen at one moment. ``running``: model to (production, canary) versions, as the
    deployer has them; ``refused``: pages that the pager could not read."""

    releases: Mapping[Release, Standing] = field(default_factory=dict)
    figures: Mapping[Release, Figures] = field(default_factory=dict)
    actions: tuple[Step, ...] = ()
    intake: Intake = Intake()
    running: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    requests: tuple[Request, ...] = ()
    pages: tuple[Page, ...] = ()
    refused: int = 0

    def runs(self, release: Release) -> bool:
        """Whether a release gets traffic: a canary until the deployer has taken it out."""
        if release.role is not Role.CANARY:
            return True
        return self.running.get(release.model, ("", release.version))[1] == release.version


class Watcher:
    """Looks twice a second, in a thread of its own, so that nothing slow holds the replay up.
    ``latest`` is the newest full look; what cannot be asked just then stays as it was."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.latest = Snapshot()
        self.looks = 0
        self.problem = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=_TIMEOUT_S)

    def _run(self) -> None:
        with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            while not self._stop.wait(_LOOK_EVERY_S):
                try:
                    with_store = self.looks % _ASK_STORE_EVERY == 0
                    self.latest = look(client, self._addresses, self.latest, with_store=with_store)
                    self.problem = ""
                except (httpx2.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
                    self.problem = type(error).__name__
                self.looks += 1


def look(
    client: httpx2.Client, addresses: Addresses, before: Snapshot, *, with_store: bool
) -> Snapshot:
    """Ask everybody once. Raises what httpx2 and unexpected answers raise.

    Effects are asked for before their causes: who sees a rollback also sees the verdict for it."""
    desk = _json(client, f"{addresses.pager}/pages")
    requests = _json(client, f"{addresses.deployer}/log")["requests"]
    runs = _json(client, f"{addresses.deployer}/state")["running"]
    figures, actions, intake = before.figures, before.actions, before.intake
    if with_store:
        figures = {_release(row): _figures(row) for row in _rows(client, addresses, _FIGURES)}
        actions = tuple(
            Step(_release(row), row[3], row[4], row[5], int(row[6]))
            for row in _rows(client, addresses, _ACTIONS)
        )
        intake = Intake(*map(int, _rows(client, addresses, _INTAKE)[0]))
    listed = _json(client, f"{addresses.serve}/v1/releases")["releases"]
    return Snapshot(
        releases={
            Release(each["model"], each["version"], Role(each["role"])): Standing(
                each["status"],
                next(iter(each["reasons"]), ""),
                each["samples"],
                each["rollback"],
            )
            for each in listed
        },
        figures=figures,
        actions=actions,
        intake=intake,
        running={each["model"]: (each["production"], each["canary"]) for each in runs},
        requests=tuple(
            Request(each["at_ms"], each["outcome"], each["detail"]) for each in requests
        ),
        pages=tuple(
            Page(each["action"], each["dedup_key"], each["severity"], each["summary"])
            for each in desk["pages"]
        ),
        refused=desk["refused"],
    )


def _json(client: httpx2.Client, url: str) -> Any:
    response = client.get(url)
    response.raise_for_status()
    return response.json()


def _rows(client: httpx2.Client, addresses: Addresses, sql: str) -> list[list[Any]]:
    response = client.post(addresses.store, content=f"{sql} FORMAT JSONCompact")
    response.raise_for_status()
    data: list[list[Any]] = response.json()["data"]
    return data


def _release(row: list[Any]) -> Release:
    return Release(row[0], row[1], Role(row[2]))


def _figures(row: list[Any]) -> Figures:
    return Figures(row[3], row[4], tuple(row[5]), int(row[6]))
