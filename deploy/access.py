"""What each role may do in Kafka, and the topics that there must be: the least that is enough.

Everything else under `deploy` that names topics or rights is made from here: the resources for
Strimzi, the module for Terraform. Tests hold the topics to those that the program makes itself,
and run the roles on a real broker with exactly these rights.

Names are prefixes where the program makes names up: the id of a transaction holds the worker's
name, and Faust adds `-changelog` and the like to the name of its app.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

PREFIX: Final = "driftline."
"""Begins the name of every internal topic, group and transaction: `kafka.prefix`."""
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024


class Kind(StrEnum):
    """What a right is a right to."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTION = "transactionalId"


class Operation(StrEnum):
    """Kafka's operations, as Strimzi spells them."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


@dataclass(frozen=True, slots=True)
class Right:
    """Leave to do ``operations`` to ``name``; with ``prefix`` to every name that begins so.
    ``own``: the name is one of those that begin with `kafka.prefix`."""

    kind: Kind
    name: str
    operations: tuple[Operation, ...]
    prefix: bool = False
    own: bool = True


@dataclass(frozen=True, slots=True)
class Topic:
    """An internal topic by its short name. ``partitioned``: as many partitions as
    `kafka.partitions`, else one. ``days``: how long records are kept, 0 where the newest record
    of a key is kept for ever (compacted)."""

    name: str
    partitioned: bool = False
    days: int = 7

    @property
    def compacted(self) -> bool:
        return self.days == 0


TOPICS: Final = (
    Topic("summaries", partitioned=True, days=3),
    Topic("verdicts", partitioned=True, days=0),
    Topic("actions", days=30),
    Topic("audit", days=30),
    Topic("commands", partitioned=True),
    Topic("control", days=0),
    Topic("references", days=0),
    Topic("configurations", days=0),
    Topic("windows"),
    Topic("findings"),
    Topic("deadletters"),
    Topic("intake"),
    Topic("events", days=1),
    Topic("pairs", partitioned=True, days=1),
    Topic("shadows", days=0),
    Topic("epochs", days=0),
    Topic("judge-models-changelog", partitioned=True, days=0),
    Topic("judge-intervals-changelog", partitioned=True, days=0),
    Topic("judge-deltas-changelog", partitioned=True, days=0),
    Topic("judge-evidence-changelog", partitioned=True, days=0),
    Topic("judge-clocks-changelog", partitioned=True, days=0),
    Topic("deliver-deliveries-changelog", partitioned=True, days=0),
)
"""In the order of streams/internal_topics.py."""

_R, _W = Operation.READ, Operation.WRITE
_SEE: Final = Right(Kind.TOPIC, "", (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS), prefix=True)
"""A role that writes looks whether the internal topics are as they must be."""


def _app(name: str) -> tuple[Right, ...]:
    """What Faust does under the name of an app: its group, its changelogs, its leader's topic,
    which it makes itself at the first start."""
    return (
        Right(Kind.TOPIC, f"{name}-", (_R, _W, Operation.CREATE), prefix=True),
        Right(Kind.GROUP, name, (_R,)),
    )


def _reader(name: str) -> Right:
    """The group of a reader that reads a topic whole and commits nothing: a name and no more."""
    return Right(Kind.GROUP, name, (Operation.DESCRIBE,), own=False)


def _topics(operation: Operation, *names: str) -> tuple[Right, ...]:
    return tuple(Right(Kind.TOPIC, name, (operation,)) for name in names)


_BY_ROLE: Final[dict[str, tuple[Right, ...]]] = {
    "summarize": (
        _SEE,
        *_topics(_R, "references"),
        _reader("references"),
        *(Right(Kind.TOPIC, name, (_R, _W)) for name in ("pairs", "shadows", "epochs")),
        *_topics(_W, "summaries", "deadletters", "intake", "events"),
        Right(Kind.GROUP, "summarize", (_R,)),
        Right(Kind.TRANSACTION, "", (_W, Operation.DESCRIBE), prefix=True),
    ),
    "judge": (
        _SEE,
        *_topics(_R, "summaries"),
        Right(Kind.TOPIC, "references", (_R, _W)),
        _reader("references"),
        *_topics(_W, "windows", "findings", "verdicts", "configurations"),
        *_app("judge"),
    ),
    "deliver": (
        _SEE,
        *_topics(_R, "verdicts", "commands"),
        Right(Kind.TOPIC, "control", (_R, _W)),
        _reader("control"),
        *_topics(_W, "actions", "audit"),
        *_app("deliver"),
    ),
    "store": (
        _SEE,
        *_topics(
            _R,
            *("windows", "findings", "verdicts", "actions", "audit", "deadletters", "intake"),
            *("references", "configurations", "events"),
        ),
        Right(Kind.GROUP, "store", (_R,)),
    ),
    "serve": (
        *_topics(_R, "verdicts"),
        Right(Kind.TOPIC, "control", (_R, _W)),
        _reader("driftline-serve"),
        *_topics(_W, "commands"),
    ),
}

ROLES: Final = tuple(_BY_ROLE)


def rights(role: str, inputs: tuple[str, ...], prefix: str = PREFIX) -> tuple[Right, ...]:
    """All rights of a role, with full names. ``inputs``: the topics that summarize reads.

    >>> [right.name for right in rights("summarize", ("predictions",))][-1]
    'predictions'
    """
    found = [
        replace(right, name=f"{prefix}{right.name}") if right.own else right
        for right in _BY_ROLE[role]
    ]
    if role == "summarize":
        see = (_R, Operation.DESCRIBE)
        found += [Right(Kind.TOPIC, name, see, own=False) for name in inputs]
    return tuple(found)


def topic_config(topic: Topic) -> dict[str, str]:
    """The settings of a topic that matter to driftline, as Kafka names them."""
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    if not topic.compacted:
        config["retention.ms"] = str(topic.days * 86_400_000)
    return config
