"""`driftline audit verify`: does every chain of the audit trail hold?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detectors.action import printable
from sinks.audit import Chain, Verified, verify
from sinks.audit_history import read_audit
from streams.errors import UserError
from streams.store_question import asked

if TYPE_CHECKING:
    from streams.config import Config

MOST_SHOWN: Final = 20
MAX_HEADS_BYTES: Final = 16 * 1024 * 1024


def run(
    config: Config,
    model: str,
    heads: Path | None,
    save: Path | None,
    say: Callable[[str], None],
) -> int:
    """Check one chain or all. Returns 0 if they hold, else 1.

    ``heads``: the ends of an earlier run, which must still be there; ``save``: where to write the
    ends of this one, to be kept somewhere else. Raises UserError for a file that is none.
    """
    expected = read_heads(heads) if heads is not None else {}
    if save is not None and not save.parent.is_dir():  # before the work, and not after it
        raise UserError("its folder is not there", str(save), "give another --save-heads")
    if model:
        expected = {name: head for name, head in expected.items() if name == model}
    with asked(config.store) as ask:
        found = verify(read_audit(ask, model, config.store.database), expected)
    for line in lines(found):
        say(line)
    if save is not None and not found.breaks:
        _write_heads(save, found)
    return 1 if found.breaks else 0


def lines(found: Verified) -> list[str]:
    """What is said of a check: every break, or that there is none."""
    said = [
        f"broken: {printable(each.chain, 100)} at row {each.sequence}: {each.what}"
        for each in found.breaks[:MOST_SHOWN]
    ]
    left = len(found.breaks) - len(said)
    if left:
        said.append(f"and {left} more")
    if not found.breaks:
        said.append(f"ok: {found.rows} rows in {len(found.heads)} chains follow one another")
    return said


def read_heads(path: Path) -> dict[str, Chain]:
    """The ends that an earlier run saved. Raises UserError."""
    try:
        data = path.read_bytes()[:MAX_HEADS_BYTES]
        return {
            str(name): Chain(int(sequence), str(end))
            for name, (sequence, end) in json.loads(data)["heads"].items()
        }
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"cannot be read: {why}", str(path), "check --heads") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            "is not a file of ends", str(path), "give one that --save-heads has written"
        ) from None


def _write_heads(path: Path, found: Verified) -> None:
    heads = {name: [head.sequence, head.hash] for name, head in sorted(found.heads.items())}
    path.write_text(json.dumps({"heads": heads}, indent=1) + "\n", encoding="utf-8")
