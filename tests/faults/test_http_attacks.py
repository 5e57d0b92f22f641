"""G4 and G11: what a hostile client can send to a `serve` that runs as it does in production.

Over real sockets, to the server with its own settings. Whatever comes: a refusal, no command, no
memory, and others are answered meanwhile.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from sinks.rate_limit import RateLimiter
from tests.faults.http_attacks import (
    DRIPPED,
    HEADS,
    HOOK,
    NO_NOTIFICATIONS,
    SMUGGLED,
    UNCLEAR_LENGTHS,
    large_body,
    post,
)
from tests.faults.served_api import (
    PLACES,
    Hurried,
    Served,
    answers,
    drip,
    flood,
    serving,
    with_signature,
)
from tests.unit.sinks.operations_scene import body, grafana_alert


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(http=Hurried) as found:
        yield found


def test_a_genuine_notification_is_taken(served: Served) -> None:
    """So that the refusals below mean something."""
    content = body(grafana_alert())
    with served.client() as client:
        assert (
            client.post(HOOK, content=content, headers=with_signature(content)).status_code == 202
        )
    assert len(served.kafka.commands) == 1
    served.kafka.commands.clear()


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in chunks"])
def test_a_body_of_100_megabytes_is_refused_and_not_kept(served: Served, told: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = served.raw(*large_body(told=told))
    # Where the server has hung up before it was read, the answer may be lost with the connection.
    assert not answer or b" 413 " in answer.split(b"\r\n")[0]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30 * 1024, f"{grown} kB more memory"
    assert served.kafka.commands == []


@pytest.mark.parametrize("pieces", [1, 2, 4], ids=["in one piece", "in two", "in four"])
@pytest.mark.parametrize("what", HEADS)
def test_a_head_that_is_too_large_is_refused(served: Served, what: str, pieces: int) -> None:
    head = HEADS[what]
    size = len(head) // pieces
    answer = served.raw(*(head[at : at + size] for at in range(0, len(head), size)))
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert b" 200 " not in answer


@pytest.mark.parametrize("headers", UNCLEAR_LENGTHS)
def test_requests_whose_length_can_be_read_in_two_ways_are_refused(
    served: Served, headers: str
) -> None:
    answer = served.raw(post(headers, b"0\r\n\r\n" + SMUGGLED))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1, "a second request was read out of the first"


def test_chunks_count_where_a_length_is_told_as_well(served: Served) -> None:
    """RFC 9112, 6.3: the chunks win, and the connection ends, so that nothing hides behind them."""
    content = body(grafana_alert())
    chunked = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
    answer = served.raw(
        post(f"content-length: {len(chunked) + len(SMUGGLED)}\r\ntransfer-encoding: chunked\r\n"
             "connection: close", chunked + SMUGGLED)
    )  # fmt: skip
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 4")
    assert served.kafka.commands == []


@pytest.mark.parametrize("what", NO_NOTIFICATIONS)
def test_a_signed_body_that_is_no_notification_is_refused_and_costs_nothing(
    served: Served, what: str
) -> None:
    content, more = NO_NOTIFICATIONS[what]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with served.client() as client:
        answer = client.post(HOOK, content=content, headers={**with_signature(content), **more})
    assert answer.status_code in (400, 413, 415)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024
    assert served.kafka.commands == []


@pytest.mark.parametrize("what", DRIPPED)
def test_clients_that_drip_lose_their_place(what: str) -> None:
    with serving(http=Hurried) as served:
        assert drip(served, DRIPPED[what], 1.5) == []
        assert answers(served) == 200


def test_without_the_deadline_dripping_clients_keep_everybody_out() -> None:
    with serving(http="h11") as served:
        left = drip(served, DRIPPED["a head"], 1.5)
        assert len(left) == PLACES
        assert answers(served) == 503
        for connection in left:
            connection.close()


def test_a_flood_of_genuine_notifications_is_held_to_its_rate_and_probes_go_on() -> None:
    rate, burst = 20, 50
    with serving(RateLimiter(rate, burst)) as served:
        found, took_s = flood(served, 600)
        taken = [each for each in found if each.status_code == 202]
        refused = [each for each in found if each.status_code == 429]
        assert len(taken) + len(refused) == 600
        assert burst <= len(taken) <= burst + rate * took_s + 1
        assert len(served.kafka.commands) == len(taken)
        assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
        assert answers(served) == 200


def test_without_the_limit_all_of_the_flood_becomes_commands() -> None:
    with serving() as served:
        found, _ = flood(served, 200)
        assert {each.status_code for each in found} == {202}
        assert len(served.kafka.commands) == 200
