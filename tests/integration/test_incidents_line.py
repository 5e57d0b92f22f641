"""Incidents that no verdict opens, through real processes and a broker, also over a restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from detectors.verdict import Status
from tests.integration.actions_line import HOOK, SOON_S, Line, line, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]
STARTED_S = 150
"""On a busy machine, with the start of a process in between."""


class Person:
    """A receiver of messages on loopback that answers ``status``; ``heard`` is what it was sent:
    the kind of the message and its reason."""

    def __init__(self) -> None:
        self.status = 200
        self.heard: list[tuple[str, str]] = []
        person = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                kind = body["type"].split(".")[3]
                person.heard.append((kind, body["data"]["reason"]))
                self.send_response(person.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def told(self, what: str) -> int:
        """How many pages said so."""
        return sum(kind == "paged" and what in reason for kind, reason in self.heard)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, Person, Person]]:
    """A line with two receivers of messages, chat and pager."""
    with ExitStack() as stack:
        chat, pager = Person(), Person()
        stack.callback(chat.close)
        stack.callback(pager.close)
        policy = "{blind_page_after: 0s, begun_page_after: 1s}"
        people = {"chat": chat.port, "pager": pager.port}
        folder = tmp_path_factory.mktemp("incidents")
        yield stack.enter_context(line(folder, policy, people=people)), chat, pager


def test_a_release_that_began_and_is_silent_is_an_incident_until_its_first_verdict(
    scene: tuple[Line, Person, Person],
) -> None:
    here, _, pager = scene
    body = {
        "name": "quiet",
        "namespace": "models",
        "phase": "Progressing",
        "checksum": "1",
        "metadata": {"version": "2", "model": "quiet"},
    }
    taken = here.api.post(
        "/v1/hooks/flagger", json=body, headers={"authorization": f"Bearer {HOOK}"}
    )
    assert taken.is_success, taken.text
    until(lambda: here.incidents("quiet", "begun_silent") == ["opened"], SOON_S, "it is opened")
    until(lambda: pager.told("logs nothing") == 1, SOON_S, "a person was told")
    here.verdict("quiet", Status.INSUFFICIENT)
    ended = ["opened", "closed"]
    until(lambda: here.incidents("quiet", "begun_silent") == ended, SOON_S, "it is closed")


def test_a_receiver_that_is_gone_is_asked_once_a_start_and_told_of_once_until_it_is_back(
    scene: tuple[Line, Person, Person],
) -> None:
    here, chat, pager = scene
    chat.status = 410
    here.verdict("gone", Status.BLIND)
    until(lambda: pager.told("receiver chat answered that it is gone") == 1, SOON_S, "it is told")
    asked = len(chat.heard)
    for model in ("other1", "other2"):
        here.verdict(model, Status.BLIND)
        until(lambda: "delivery.refused" in here.audited(model), SOON_S, "chat is held")  # noqa: B023
    assert len(chat.heard) == asked
    assert here.incidents("gone", "receiver_gone") == ["opened"]
    # Another process does not know the hold: it asks once more, and nobody is told again.
    here.restart("deliver")
    here.verdict("gone", Status.PASS)
    until(lambda: len(chat.heard) == asked + 1, STARTED_S, "it is asked once more")
    here.verdict("other1", Status.PASS)
    refused = ["delivery.refused"] * 2
    until(
        lambda: [k for k in here.audited("other1") if k == refused[0]] == refused,
        SOON_S,
        "chat is held again",
    )
    assert len(chat.heard) == asked + 1
    assert pager.told("receiver chat answered that it is gone") == 1
    # It is back: the first message that it takes ends the incident, whichever model it is about.
    chat.status = 200
    here.restart("deliver")
    here.verdict("other1", Status.BLIND)
    ended = ["opened", "closed"]
    until(lambda: here.incidents("gone", "receiver_gone") == ended, STARTED_S, "it is closed")
    until(lambda: ("resolved", "receiver chat takes messages again") in pager.heard, SOON_S, "told")
