"""G10: names that mean something to whoever is told of them.

What leaves driftline about a release is made twice: for a release with plain names, and for one
whose names, reason and columns hold markup, quotes, line ends and placeholders. Both must have the
same structure: header names, keys, links and mentions, tags, samples. Without the guard, the
hostile text stands as it is where the plain one stood, as a template without escaping would put it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from math import nan
from typing import Any, Final

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from detectors.action import Action, ActionKind, Exhibit
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from examples.pager import pagerduty_faults, slack_fault
from sinks.api import ApiParts, Readiness, create_app
from sinks.links import LinkSettings
from sinks.verdict_board import VerdictBoard
from tests.contract.receiver_scene import NOW_MS, action, endpoint, receiver
from tests.unit.sinks.operations_scene import NOW, api, case, link

PLAIN: Final = "plainname"
HOSTILE: Final = (
    '```","x":1,"y":"<!channel> <https://evil.example|here>'
    '<script>document.title=1</script> ${a} {{7*7}} %s"} 1\r\nX-Evil: 1\r\n\r\n\x1b[0m\u202e`'
)
"""Below the 200 characters that a name may have."""
LINKS: Final = LinkSettings(
    console="https://driftline.example/?model={model}",
    grafana="https://grafana.example/d/x?var-version={version}",
)


def sent(kind: str, name: str) -> bytes:
    """Headers, as JSON, and body of what ``kind`` of receiver is sent."""

    async def main() -> bytes:
        async with endpoint() as there:
            await receiver(kind, there.port, links=LINKS).deliver(_about(kind, name), NOW_MS)
            ((headers, body),) = there.got
            return json.dumps(sorted(headers)).encode() + b"\n" + body

    return asyncio.run(main())


def _about(kind: str, name: str) -> Action:
    rollback = kind == "webhook"
    return replace(
        action(ActionKind.ROLLBACK if rollback else ActionKind.PAGE, name),
        release=Release(name, name, Role.CANARY),
        return_to=name,
        note=name,
        evidence=(Exhibit(name, name, name, 1.0, 0.2, 1),),
    )


def approval_page(name: str) -> bytes:
    client, kafka = api(token="")
    texts = {"model": name, "version": name, "return_to": name, "reason": name}
    kafka.board.take(structs.replace(case(2), **texts))
    return client.get(link(2)).content


def asked(path: str, name: str) -> bytes:
    """What ``serve`` answers about a release that failed."""
    board = VerdictBoard()
    release = Release(name, name, Role.CANARY)
    board.update(
        Verdict(release, Status.FAIL, name, 1, NOW, NOW, 1, name, 9, nan, nan, (), NOW), NOW
    )
    parts = ApiParts(board, lambda: NOW, 300_000, lambda: Readiness(True, ""), lambda _: [])
    client = TestClient(create_app(parts))
    if path.startswith("/v1/flagger"):
        return client.post(path, json={"metadata": {"model": name, "version": name}}).content
    return client.get(path, params={"model": name, "version": name}).content


def keys(body: bytes) -> object:
    """Keys and kinds of values of a JSON text."""
    return _kinds(json.loads(body))


def _kinds(value: object) -> object:
    match value:
        case dict():
            return {key: _kinds(each) for key, each in value.items()}
        case list():
            return [_kinds(each) for each in value]
        case _:
            return type(value).__name__


def request_keys(request: bytes) -> object:
    """The names of the headers, and `keys` of the body."""
    headers, _, body = request.partition(b"\n")
    return json.loads(headers), keys(body)


def pager_keys(request: bytes) -> object:
    """`request_keys`, and what PagerDuty would refuse."""
    event: dict[str, Any] = json.loads(request.partition(b"\n")[2])
    return request_keys(request), pagerduty_faults(event)


def slack_marks(request: bytes) -> object:
    """`request_keys`, what Slack would refuse, links and mentions, blocks of code, and whether
    every character can be shown. A header is plain text: Slack reads no marks in it."""
    message: dict[str, Any] = json.loads(request.partition(b"\n")[2])
    blocks = [block["text"] for block in message["blocks"]]
    marked = [message["text"], *(each["text"] for each in blocks if each["type"] == "mrkdwn")]
    links = [re.findall("[<>]", text) for text in marked]
    fences = [text.count("```") for text in marked]
    shown = [
        text.replace("\n", "").isprintable() for text in (*marked, *(b["text"] for b in blocks))
    ]
    return request_keys(request), slack_fault(message), links, fences, shown


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def tags(page: bytes) -> object:
    """The elements of a page, with the names of their attributes."""
    parser = _Tags()
    parser.feed(page.decode())
    return parser.found


def samples(text: bytes) -> object:
    """The samples of Prometheus' text format, with the names of their labels."""
    return [
        (sample.name, sorted(sample.labels))
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]


@dataclass(frozen=True, slots=True)
class Output:
    """``made`` of a name, and the ``structure`` of it that no name may change."""

    made: Callable[[str], bytes]
    structure: Callable[[bytes], object]


OUTPUTS: Final[Mapping[str, Output]] = {
    "the webhook": Output(lambda name: sent("webhook", name), request_keys),
    "PagerDuty": Output(lambda name: sent("pagerduty", name), pager_keys),
    "Slack": Output(lambda name: sent("slack", name), slack_marks),
    "Alertmanager": Output(lambda name: sent("alertmanager", name), request_keys),
    "the page of an approval": Output(approval_page, tags),
    "the verdict": Output(lambda name: asked("/v1/verdict", name), keys),
    "Flagger's gate": Output(lambda name: asked("/v1/flagger/gate", name), keys),
    "the metrics": Output(lambda name: asked("/metrics", name), samples),
}


def injections(*, guarded: bool) -> int:
    """Outputs whose structure a name changed."""
    changed = 0
    for output in OUTPUTS.values():
        plain = output.made(PLAIN)
        if PLAIN.encode() not in plain:
            raise AssertionError("nothing of the name is in it")
        hostile = (
            output.made(HOSTILE) if guarded else plain.replace(PLAIN.encode(), HOSTILE.encode())
        )
        try:
            changed += output.structure(hostile) != output.structure(plain)
        except ValueError:  # it cannot be read at all
            changed += 1
    return changed
