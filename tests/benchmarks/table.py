"""What a subject of `make bench` is asked, and the one Markdown table and JSON file it answers."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """The words of the command line."""

    out: Path
    quick: bool = False
    objectives: tuple[str, ...] = ()
    """Only these; () = all."""
    sizes: tuple[int, ...] = ()
    """Only these numbers of pairs; () = all."""


@dataclass
class Table:
    """Rows of one subject, in columns by name; notes stand below."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """One table, numbers to three digits, and the notes as a list."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        lines = [columns, ["---"] * len(columns)]
        lines += [[_shown(row.get(column)) for column in columns] for row in self.rows]
        notes = [f"- {name}: {_shown(value)}" for name, value in self.notes.items()]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *notes]) + "\n"

    def write(self, out: Path) -> None:
        """<out>/<name>.md and <name>.json, which has all digits and says what machine it was."""
        out.mkdir(parents=True, exist_ok=True)
        whole = {"machine": machine(), "rows": self.rows, "notes": self.notes}
        (out / f"{self.name}.json").write_text(json.dumps(whole, indent=1) + "\n")
        (out / f"{self.name}.md").write_text(self.markdown())


def machine() -> dict[str, Any]:
    """The processor and what computes on it."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": cores(),
        "torch": torch.__version__,
    }


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else _whole(value)


def _whole(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)
