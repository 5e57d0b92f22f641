"""Whatever happens to a model: every page belongs to an incident that the audit trail has opened
before, and of which no more is closed than was opened."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.release import Release, Role
from detectors.verdict import Status
from sinks.receivers import Routes
from streams.outbox import Delivery, DeliveryState
from tests.unit.streams.test_deliver_troubles import DEPLOYER, MINUTE, NOBODY, TAKEN, Deliver

ANSWERS = (
    TAKEN,
    Delivery(DeliveryState.DRY_RUN, "checked"),
    Delivery(DeliveryState.RETRY, "503", MINUTE),
    Delivery(DeliveryState.REFUSED, "404"),
    Delivery(DeliveryState.GONE, "410"),
)
RELEASES = (
    Release("m", "v2", Role.CANARY),
    Release("m", "v3", Role.CANARY),
    Release("m", "v1", Role.PRODUCTION),
    Release("m", "s", Role.SHADOW),
)
STEPS = st.one_of(
    st.tuples(st.just("verdict"), st.sampled_from(RELEASES), st.sampled_from(Status)),
    st.tuples(st.just("begins"), st.sampled_from(("v2", "v3", "v4", "v5")), st.none()),
    st.tuples(
        st.just("answers"), st.sampled_from(("pager", "chat", "deployer")), st.sampled_from(ANSWERS)
    ),
    st.tuples(st.just("after"), st.sampled_from((0, 1, 5, 45, 1_600)), st.none()),
    st.tuples(st.just("routes"), st.sampled_from((DEPLOYER, NOBODY)), st.none()),
)


@given(st.lists(STEPS, min_size=1, max_size=40), st.sampled_from((DEPLOYER, NOBODY)))
@settings(max_examples=300, deadline=None)
def test_every_page_belongs_to_an_incident_that_was_opened(
    steps: list[tuple[str, Any, Any]], routes: Routes
) -> None:
    here = Deliver(routes)
    for events, (kind, one, two) in enumerate(steps):
        match kind:
            case "verdict":
                here.verdict(one, two, events)
            case "begins":
                here.begins(one)
            case "answers":
                here.answers[one] = two
            case "after":
                here.after(one * MINUTE)
            case _:
                here.routes = one
        assert here.pages_without_incident() == set()
    opened: Counter[str] = Counter()
    for row in here.state.unpublished:
        if row.kind in ("incident.opened", "incident.closed", "incident.forgotten"):
            incident = json.loads(row.body)["incident"]
            opened[incident] += 1 if row.kind == "incident.opened" else -1
            assert 0 <= opened[incident] <= 1
