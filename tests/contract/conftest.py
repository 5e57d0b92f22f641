"""Every way of sending events, one after the other."""

from __future__ import annotations

import pytest

from tests.contract.codec_carriers import CARRIERS, Carrier


@pytest.fixture(params=list(CARRIERS.values()), ids=list(CARRIERS))
def carrier(request: pytest.FixtureRequest) -> Carrier:
    found: Carrier = request.param
    return found
