"""The kernels that panes are merged, evidence is settled and windows are compared with: made ready
while the judge works without.

As those that decode (:mod:`streams.codecs.speculative.loading`), and in the same cache: a process
of its own compiles them where nobody has, and where numba is not installed ``ready`` gives None for
good. Everything comes to the same bits with them and without, so nobody can tell when they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detectors.canary_kernels import CanaryKernels
from detectors.drift_kernels import DriftKernels
from detectors.merging import MergingKernels
from detectors.window_kernels import WindowKernels
from streams.codecs.speculative.compiling import compile_apart
from streams.codecs.speculative.loader import Loader


@dataclass(frozen=True, slots=True)
class EvidenceKernels:
    """By what they settle; ``unpack``: of :mod:`streams.compiled_sketches`."""

    canary: CanaryKernels
    drift: DriftKernels
    windows: WindowKernels
    merging: MergingKernels
    unpack: Callable[..., None]


def no_kernels() -> EvidenceKernels | None:
    """For who settles without."""
    return None


def make_kernels() -> EvidenceKernels:
    """Compile them. Raises ImportError without numba."""
    from detectors.compiled_canary import compile_canary
    from detectors.compiled_distances import compile_distances
    from detectors.compiled_drift import compile_drift
    from detectors.compiled_figures import compile_figures
    from detectors.compiled_merging import compile_merging
    from streams.codecs.speculative import machine
    from streams.compiled_sketches import compile_unpack

    cache = machine.CACHED
    return EvidenceKernels(
        compile_canary(cache=cache),
        compile_drift(cache=cache),
        WindowKernels(*compile_distances(cache=cache), compile_figures(cache=cache)),
        compile_merging(cache=cache),
        compile_unpack(cache=cache),
    )


_loader = Loader("evidence", make_kernels, compile_apart)
ready = _loader.ready
load = _loader.load
warm_up = _loader.warm_up
