"""Rules on combinations: a component may require others, or exclude them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ablations.schema import Ablation
from uniclip.errors import UserError

Requirements = Mapping[str, Sequence[str]]
"""Component -> components that it requires, or excludes."""


def is_valid(on: Iterable[str], ablation: Ablation) -> bool:
    """Return whether exactly these components can be on together."""
    names = set(on)
    varied = set(ablation.components)
    return all(
        set(ablation.requires.get(n, ())) & varied <= names
        and not set(ablation.excludes.get(n, ())) & names
        for n in names
    )


def close_under_requirements(names: Iterable[str], ablation: Ablation) -> tuple[str, ...]:
    """Return the components with all that they require, in the order of the ablation."""
    closed, pending = set[str](), list(names)
    while pending:
        name = pending.pop()
        if name not in closed:
            closed.add(name)
            pending += ablation.requires.get(name, ())
    return tuple(n for n in ablation.components if n in closed)


def find_dependents(name: str, ablation: Ablation) -> tuple[str, ...]:
    """Return the component and those that cannot be on without it, in the order of the ablation."""
    return tuple(n for n in ablation.components if name in close_under_requirements([n], ablation))


def describe_rule(ablation: Ablation) -> str | None:
    """Return one rule between components of the ablation, such as "a requires b", if any."""
    for verb, rules in (("requires", ablation.requires), ("excludes", ablation.excludes)):
        for name in ablation.components:
            for other in rules.get(name, ()):
                if other in ablation.components:
                    return f"{name} {verb} {other}"
    return None


def refuse_rules(ablation: Ablation) -> None:
    """Raise `UserError` if a rule makes combinations impossible that the design needs."""
    rule = describe_rule(ablation)
    if rule is not None:
        raise UserError(
            f"ablation {ablation.name}: {rule}, so design: {ablation.design} would have arms that "
            "cannot be run; use design: crossed, leave_one_out or shapley"
        )


def refuse_exclusions(ablation: Ablation) -> None:
    """Raise `UserError` if not all components can be on together."""
    for name in ablation.components:
        for other in ablation.excludes.get(name, ()):
            if other in ablation.components:
                raise UserError(
                    f"ablation {ablation.name}: {name} excludes {other}, so that no arm has all "
                    f"components, as design: {ablation.design} needs; use design: crossed"
                )


def check_order(order: Sequence[str], ablation: Ablation) -> None:
    """Raise `UserError` if an order adds a component before one that it requires."""
    for i, name in enumerate(order):
        for other in ablation.requires.get(name, ()):
            if other in ablation.components and other not in order[:i]:
                raise UserError(
                    f"ablation {ablation.name}: {name} requires {other}, which the order adds "
                    f"later: list {other} first"
                )
