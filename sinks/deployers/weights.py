"""Shifting traffic by weights: the bad version gets 0, the version to return to gets its share.

The same for a Gateway API route, an Istio VirtualService and a Seldon experiment: lists of
destinations with weights. In every list in which the bad version gets traffic, the version to
return to must stand as well, or the whole order is refused: half a rollback is none. The sum of a
list stays what it was, so that lists of per cents stay lists of per cents.
"""

from __future__ import annotations

from dataclasses import dataclass

from sinks.deployers.json_patch import (
    Json,
    Operation,
    items_at,
    number_at,
    pointer,
    put,
    test,
    text_at,
)
from sinks.deployers.order import Refused


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a list's entries keep what: pointers within an entry to its ``name`` and ``weight``,
    and the weight meant where none is given, in a list of one and in a longer one."""

    name: str
    weight: str
    alone: int
    among_others: int


def shift(thing: Json, lists: list[str], shape: Shape, bad: str, good: str) -> list[Operation]:
    """The operations that shift the weight of ``bad`` to ``good`` in the ``lists`` (pointers).

    Empty if ``bad`` gets nothing as it is. Raises Refused if it stands in a list without ``good``,
    or if neither stands anywhere.
    """
    operations: list[Operation] = []
    met = False
    for at in lists:
        entries = items_at(thing, at)
        names = [text_at(entry, shape.name) for entry in entries]
        met = met or bad in names or good in names
        given = [_weight(entry, shape, len(entries)) for entry in entries]
        leaving = [i for i, name in enumerate(names) if name == bad and given[i] > 0]
        if not leaving:
            continue
        staying = [i for i, name in enumerate(names) if name == good]
        if not staying:
            raise Refused(
                f"{at} sends traffic to {bad} and does not name {good}: nothing to return to"
            )
        moved = sum(given[i] for i in leaving)
        for i in (*leaving, staying[0]):
            entry = f"{at}{pointer(i)}"
            operations.append(test(entry + shape.name, names[i]))
            if number_at(entries[i], shape.weight) is not None:
                operations.append(test(entry + shape.weight, given[i]))
        operations += [put(f"{at}{pointer(i)}{shape.weight}", 0) for i in leaving]
        first = staying[0]
        operations.append(put(f"{at}{pointer(first)}{shape.weight}", given[first] + moved))
    if not met:
        raise Refused(f"neither {bad} nor {good} is named; check the form of their names")
    return operations


def _weight(entry: Json, shape: Shape, count: int) -> int:
    given = number_at(entry, shape.weight)
    if given is None:
        return shape.alone if count == 1 else shape.among_others
    return max(0, given)
