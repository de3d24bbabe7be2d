"""Table of arms: what each is for, and how its configuration differs from the reference arm's."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.results.setup import ArmSetup
from analysis.tables.table import Table, TableCell, make_row

ROLE_NOTE = (
    "Roles: reference, the arm that others are compared with; design, components on or off in "
    "all combinations that are compared; listed, compared as it is; baseline, from outside the "
    "design; A/A, the reference configuration with other random draws."
)
UNREADABLE_NOTE = (
    "Unreadable training images: the largest number that a run replaced by other images."
)


def build_arm_table(arm_setups: Sequence[ArmSetup]) -> Table:
    """Return one row per arm, for the page only: it is not written to a file."""
    has_unreadable_images = any(arm.unreadable_images for arm in arm_setups)
    headings = ("arm", "name", "role", "differs in", "parameters")
    extra_headings = ("unreadable training images",) if has_unreadable_images else ()
    return Table(
        name="arms",
        title="Arms",
        headings=(*headings, *extra_headings),
        rows=tuple(
            make_row(
                TableCell(text=arm.label, link=f"#runs-{arm.name}"),
                arm.name,
                arm.role,
                arm.differences or "nothing",
                arm.parameters,
                *([str(arm.unreadable_images)] if has_unreadable_images else []),
            )
            for arm in arm_setups
        ),
        records=(),
        num_text_columns=4,
        notes=(ROLE_NOTE, *((UNREADABLE_NOTE,) if has_unreadable_images else ())),
    )
