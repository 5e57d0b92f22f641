"""What one record led to at the judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from detectors.finding import Finding
from detectors.reference import Reference
from detectors.release import Release
from detectors.verdict import Verdict
from streams.wire import Row


@dataclass(slots=True)
class Outputs:
    """In the order in which it must be published. ``told``: those findings that say what evidence
    there is against a canary, for its verdict to show. ``late``: rows that came too late to
    count."""

    windows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    learnt: list[Reference] = field(default_factory=list)
    told: dict[Release, list[Finding]] = field(default_factory=dict)
    late: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to publish."""
        return not (self.windows or self.findings or self.verdicts or self.learnt)
