"""``python -m streams.codecs.speculative``: compile the kernels into the cache. Exit code 1 where
there is no folder to keep them in, or no numba."""

from __future__ import annotations

import os
import sys

from streams import evidence_kernels
from streams.codecs.speculative import cache
from streams.codecs.speculative.compiling import compile_into
from streams.codecs.speculative.loading import make_kernels


def main() -> int:
    # Less than others, and not last of all: on a busy machine that would be never.
    os.nice(5)
    try:
        folder = cache.in_use()
    except ImportError:
        return 1
    if folder is None:
        return 1
    compile_into(folder, _compile)
    return 0


def _compile() -> None:
    make_kernels()
    evidence_kernels.make_kernels()


if __name__ == "__main__":
    sys.exit(main())
