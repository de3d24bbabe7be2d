"""Names and labels of arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from uniclip.errors import make_unknown_name_error

FULL, NONE = "full", "none"
METHOD_LABELS = {
    "clip": "CLIP",
    "declip": "DeCLIP",
    "siglip": "SigLIP",
    "slip": "SLIP",
    "unicl": "UniCL",
    "uniclip": "UniCLIP",
}
"""Method -> what labels call it; any other one is called by its name."""
MAX_LISTED_OFF = 3
"""Largest number of components that a label calls "without ..." though more are off than on."""


def format_arm_name(off: Sequence[str], components: Sequence[str]) -> str:
    """Return the name of the arm without the components `off`: full, no-<component>... or none.

    Words are joined by "-" in names of arms, also where a component's name has "_".
    """
    if not off:
        return FULL
    if len(off) == len(components) and len(components) > 1:
        return NONE
    return "-".join(["no", *off]).replace("_", "-")


def format_subset_name(off: Sequence[str], components: Sequence[str]) -> str:
    """Return the name of an arm of a design with many components.

    It is full, no-<component>, only-<component> or none; any other arm has a digit for each
    component in their order: on-1101 is the arm without the third one.
    """
    num_on = len(components) - len(off)
    if num_on == 1 and len(off) > 1:
        return f"only-{next(n for n in components if n not in off)}".replace("_", "-")
    if len(off) <= 1 or num_on == 0:
        return format_arm_name(off, components)
    return "on-" + "".join("0" if n in off else "1" for n in components)


def format_setting_arm_name(setting: str, off: Sequence[str]) -> str:
    """Return the name of the arm of a setting without the components `off`."""
    return "-".join([setting, *(["no", *off] if off else [])]).replace("_", "-")


def find_arm_name(name: str, arm_names: Iterable[str]) -> str:
    """Return the arm that a user calls `name`; "_" and "-" are equal in it.

    Raises:
        UserError: there is no such arm.
    """
    names = list(arm_names)
    if name in names:
        return name
    for arm_name in names:
        if arm_name.replace("_", "-") == name.replace("_", "-"):
            return arm_name
    raise make_unknown_name_error("arm", name, names)


def format_arm_label(
    off: Sequence[str],
    names: Sequence[str],
    short_labels: Mapping[str, str],
    method: str | None = None,
) -> str:
    """Return the label of the arm without the components `off`.

    Args:
        off: the components that are off.
        names: all components of the design.
        short_labels: component -> short label; a component without one is called by its name.
        method: name of the method of the arm; None if a command trains it.
    """

    def join_labels(components: Iterable[str]) -> str:
        return ", ".join(short_labels.get(n, n.replace("_", " ")) for n in components)

    if not off:
        prefix = "" if method is None else f"{METHOD_LABELS.get(method, method)}, "
        return f"{prefix}all components"
    if len(off) == len(names):
        return "no component"
    if len(off) > max(MAX_LISTED_OFF, len(names) // 2):
        return "only " + join_labels(n for n in names if n not in off)
    return "without " + join_labels(off)
