"""`driftline deployers`: try out what would be done to a cluster, and promote by hand.

``check`` asks every deployer that is for a model to roll back, as a dry run whatever is
configured: permissions, names, conditions and admission are found wrong on a Tuesday morning
rather than in the night they are needed. ``promote`` is for a person; driftline never promotes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from detectors.action import action_key, printable
from sinks.deployers.order import Order
from sinks.deployers.receiver import build_argo_rollouts, build_deployers
from sinks.errors import Permanent, Retryable
from streams.errors import UserError

if TYPE_CHECKING:
    from streams.config import Config

WHERE = "deployers"


@dataclass(frozen=True, slots=True)
class Checked:
    """What one deployer said to a dry run."""

    deployer: str
    ok: bool
    text: str


def check(
    config: Config, order: Order, environ: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """Try ``order`` out at every deployer for its model. Returns the exit code: 0 if all would.

    Raises UserError if no deployer is for the model.
    """
    checked = asyncio.run(tried_out(config, order, environ))
    if not checked:
        raise UserError(
            f"no deployer is for the model {printable(order.model, 100)}",
            WHERE,
            "name it in `models` of one; until then a rollback pages instead",
        )
    for each in checked:
        say(f"{'ok' if each.ok else 'refused'}: {each.deployer}: {each.text}")
    return 0 if all(each.ok for each in checked) else 1


async def tried_out(
    config: Config, order: Order, environ: Mapping[str, str]
) -> tuple[Checked, ...]:
    """The answers of all deployers for the order's model, in the order of configuration."""
    _named_apart(order)
    dry = config.deployers.for_dry_run()
    answers = []
    for deployer in build_deployers(dry, config.egress, environ):
        if any(fnmatchcase(order.model, pattern) for pattern in deployer.models):
            try:
                text = await deployer.carry_out(order)
                answers.append(Checked(deployer.name, ok=True, text=text))
            except (Permanent, Retryable) as error:
                answers.append(Checked(deployer.name, ok=False, text=printable(str(error))))
    return tuple(answers)


def promote(
    config: Config,
    name: str,
    model: str,
    version: str,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Promote ``version`` fully by the Argo Rollouts deployer ``name``. Returns the exit code.

    Raises UserError if there is no such deployer, or if it refuses.
    """
    found = [each for each in config.deployers.argo_rollouts if each.name == name]
    if not found:
        raise UserError(
            f"no deployer {printable(name, 100)!r}", f"{WHERE}.argo_rollouts", "check its name"
        )
    # Nothing is returned to, so the version itself stands for it; `promote` does not read it.
    order = Order(action_key("promote", model, version), model, version, version)
    try:
        argo = build_argo_rollouts(found[0], config.deployers, config.egress, environ)
        done = asyncio.run(argo.promote(order))
    except (Permanent, Retryable) as error:
        raise UserError(printable(str(error)), f"{WHERE}.{name}", "") from None
    said = "dry run, nothing changed; it would have " if found[0].dry_run else ""
    say(printable(f"{said}{done.text}"))
    return 0


def order_for(model: str, version: str, return_to: str) -> Order:
    """An order to try out; its key is of no action."""
    return Order(action_key("check", model, version), model, version, return_to)


def _named_apart(order: Order) -> None:
    if not order.return_to or order.return_to == order.version:
        raise UserError("the two versions are one", "", "name the one to leave and the one to run")
