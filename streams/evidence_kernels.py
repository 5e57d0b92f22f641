"""The kernels that evidence is settled with: made ready while the judge already works without.

As those that decode (:mod:`streams.codecs.speculative.loading`), and in the same cache: a process
of its own compiles them where nobody has, and where numba is not installed ``ready`` gives None for
good. Evidence comes to the same bits with them and without, so nobody can tell when they came.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.canary_kernels import CanaryKernels
from detectors.drift_kernels import DriftKernels
from streams.codecs.speculative.compiling import compile_apart
from streams.codecs.speculative.loader import Loader


@dataclass(frozen=True, slots=True)
class EvidenceKernels:
    """By what they settle."""

    canary: CanaryKernels
    drift: DriftKernels


def no_kernels() -> EvidenceKernels | None:
    """For who settles without."""
    return None


def make_kernels() -> EvidenceKernels:
    """Compile them. Raises ImportError without numba."""
    from detectors.compiled_canary import compile_canary
    from detectors.compiled_drift import compile_drift
    from streams.codecs.speculative import machine

    cache = machine.CACHED
    return EvidenceKernels(compile_canary(cache=cache), compile_drift(cache=cache))


_loader = Loader("evidence", make_kernels, compile_apart)
ready = _loader.ready
load = _loader.load
warm_up = _loader.warm_up
