"""When to act: the settings of the policy, and what holds for the whole fleet at the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from detectors.release import Role
from detectors.silence import MaintenanceWindow, Silence

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Automation(StrEnum):
    """The switch for rollbacks: done, only recorded, or not even that. Pages always go out."""

    ON = "on"
    DRY_RUN = "dry_run"
    OFF = "off"


_STRICTNESS = (Automation.ON, Automation.DRY_RUN, Automation.OFF)


class Approval(StrEnum):
    """Who decides that a proposed rollback is carried out."""

    AUTOMATIC = "automatic"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """When to act.

    A FAIL counts once ``fail_verdicts`` of the last ``of_verdicts`` answers were FAIL and it has
    lasted ``fail_for_ms``; the judge has confirmed it already, so the defaults take the first. An
    incident closes after ``close_after_passes`` PASSes in a row.

    ``hold_page_after_ms``/``blind_page_after_ms``: how long an incident that is not a FAIL may
    last before it pages; a BLIND one that lasts ``blind_escalate_after_ms`` pages again, louder
    and to more people. A release whose incidents begin ``flap_opens`` times within
    ``flap_window_ms`` is flapping: that is one page, and then none until it is calm for as long.

    ``quiet_after_rollback_ms``: for how long a FAIL of a rolled-back release is taken for old data
    still arriving; after that it is a page, as the rollback did not help. An acknowledged rollback
    is verified when its release has had no new events for ``verify_quiet_ms`` while the model's
    others had; if it still has some ``verify_within_ms`` after the acknowledgement, that is a page.

    ``alert_waits_ms``: for how long another system's alert that asks for a rollback may wait for
    the first verdict on its release; 0 makes such an alert page only.

    ``approval: person`` makes every rollback wait for one, ``approval_expires_ms`` at most.
    ``max_rollbacks_per_hour`` is per model: what fails more often than that needs a person.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    automation: Automation = Automation.ON
    approval: Approval = Approval.AUTOMATIC
    approval_expires_ms: int = HOUR_MS
    rollback_roles: tuple[Role, ...] = (Role.CANARY,)
    fail_verdicts: int = 1
    of_verdicts: int = 1
    fail_for_ms: int = 0
    close_after_passes: int = 1
    hold_page_after_ms: int = MINUTE_MS
    blind_page_after_ms: int = MINUTE_MS
    blind_escalate_after_ms: int = 30 * MINUTE_MS
    begun_page_after_ms: int = 30 * MINUTE_MS
    alert_waits_ms: int = 15 * MINUTE_MS
    flap_opens: int = 4
    flap_window_ms: int = 30 * MINUTE_MS
    quiet_after_rollback_ms: int = HOUR_MS
    verify_quiet_ms: int = 2 * MINUTE_MS
    verify_within_ms: int = 15 * MINUTE_MS
    max_rollbacks_per_hour: int = 4
    maintenance: tuple[MaintenanceWindow, ...] = ()
    max_exhibits: int = 10
    max_releases: int = 200

    def __post_init__(self) -> None:
        for name in (
            "fail_for_ms",
            "hold_page_after_ms",
            "blind_page_after_ms",
            "quiet_after_rollback_ms",
            "verify_quiet_ms",
            "alert_waits_ms",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"policy: {name} is negative; give 0 or more milliseconds")
        for name in (
            "max_rollbacks_per_hour",
            "max_exhibits",
            "max_releases",
            "close_after_passes",
            "approval_expires_ms",
            "verify_within_ms",
            "blind_escalate_after_ms",
            "begun_page_after_ms",
            "flap_window_ms",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"policy: {name} must be at least 1")
        if not 1 <= self.fail_verdicts <= self.of_verdicts <= 30:
            raise ValueError("policy: fail_verdicts must be from 1 to of_verdicts, and that to 30")
        if not 2 <= self.flap_opens <= 100:
            raise ValueError("policy: flap_opens must be from 2 to 100")
        refused = {Role.PRODUCTION, Role.SHADOW} & set(self.rollback_roles)
        if refused:
            raise ValueError(
                f"policy: rollback_roles holds {min(refused)}, which has nothing to return to; "
                "use canary and variant only"
            )


@dataclass(frozen=True, slots=True)
class FleetOrders:
    """What people have ordered for the whole fleet, as far as it is in force.

    ``automation``: the switch, None while nobody has touched it. ``usual``: the value in the
    configuration that the switch stands in for. ``admission``: a rollback also needs a place
    within the fleet's limit, which is asked for elsewhere (`detectors.policy.admit`).
    """

    automation: Automation | None = None
    usual: Automation = Automation.ON
    silences: tuple[Silence, ...] = field(default=())
    admission: bool = False

    def automation_of(self, settings: PolicySettings) -> Automation:
        """What holds for a model. A model that is kept stricter than the rest stays so: turning
        the fleet on must not wake what its owner had put to rest."""
        if self.automation is None:
            return settings.automation
        if settings.automation is self.usual:
            return self.automation
        return max(self.automation, settings.automation, key=_STRICTNESS.index)


NO_ORDERS = FleetOrders()
