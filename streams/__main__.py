"""``python -m streams`` is ``driftline``: how one role starts another with the same interpreter."""

import sys

from streams.cli import main

sys.exit(main())
