"""The list of the sweeps of a store, with links to their pages."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.page.html import render_list
from sweeps.monitor.inventory import format_date
from uniclip.errors import UserError
from uniclip.store import Store


@dataclass(frozen=True)
class SweepLink:
    """A sweep in the list."""

    id: str
    title: str
    detail: str


def render_index(store: Store) -> str:
    """Return the list as HTML, the newest sweep first."""
    dated = []
    for folder in store.iter_sweeps():
        try:
            plan = folder.read_plan()
        except UserError as error:
            dated.append((0.0, SweepLink(folder.id, "damaged", str(error))))
            continue
        if plan is not None:
            date = (folder.path / "plan.json").stat().st_mtime
            detail = f"{len(plan.cells):,} cells, data {plan.data}, {format_date(date)}"
            dated.append((date, SweepLink(folder.id, plan.title, detail)))
    links = [link for _, link in sorted(dated, key=lambda item: -item[0])]
    return render_list(str(store.root), links)
