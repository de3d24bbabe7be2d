"""The options of `make bench`, and the Markdown table and JSON file of each subject."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    out: Path
    quick: bool = False
    objectives: tuple[str, ...] = ()
    """Only these objectives; () = all."""
    forms: tuple[str, ...] = ()
    """Only these of `forms.FORMS`; () = all."""
    sizes: tuple[int, ...] = ()
    """Only these numbers of pairs; () = all."""
    baseline: Path | None = None
    """Another checkout, for `front_door`."""


@dataclass
class Table:
    """The rows of one subject, as column name -> value, and notes below them."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return one Markdown table, numbers to three digits, and the notes as a list."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        lines = [columns, ["---"] * len(columns)]
        lines += [[_format_value(row.get(column)) for column in columns] for row in self.rows]
        notes = [f"- {name}: {_format_value(value)}" for name, value in self.notes.items()]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *notes]) + "\n"

    def write(self, out: Path) -> None:
        """Write <out>/<name>.md and <name>.json, which has all digits and the machine."""
        out.mkdir(parents=True, exist_ok=True)
        content = {"machine": describe_machine(), "rows": self.rows, "notes": self.notes}
        (out / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n")
        (out / f"{self.name}.md").write_text(self.markdown())


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores and the version of torch."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": count_cores(),
        "torch": torch.__version__,
    }


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
