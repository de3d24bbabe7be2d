"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ablations import designs
from ablations import schema as ablation_schema
from sweeps.cli.main import console
from sweeps.config import request
from uniclip import evaluate
from uniclip.config import compose, methods, schema
from uniclip.errors import UserError, unknown
from uniclip.evaluate import datasets
from uniclip.models import profile

Rows = list[tuple[str, str]]


def show(names: list[str], overrides: list[str]) -> int:
    """Print one kind of thing, or the kinds there are."""
    values = request.parsed(overrides)
    values.pop("runtime.plugins", None)
    where = request.folders(values.pop("conf_dir", None))
    kinds = _kinds(where)
    if not names:
        console().print("list " + " | ".join(sorted(kinds)), markup=False)
        return 0
    if len(names) > 1:
        raise UserError("list takes one name: " + ", ".join(sorted(kinds)))
    if names[0] == "arms":
        rows = _arms(values.pop("ablation", None), where)
    elif names[0] in kinds:
        rows = kinds[names[0]]()
    else:
        raise unknown("list", names[0], kinds)
    if values:
        raise UserError(f"list takes no {sorted(values)[0]}=")
    width = max((len(name) for name, _ in rows), default=0)
    for name, about in rows:
        console().print(f"{name:<{width}}  {about}".rstrip(), markup=False)
    return 0


def _kinds(where: list[Path]) -> dict[str, Callable[[], Rows]]:
    def group(name: str) -> Callable[[], Rows]:
        return lambda: [
            (option, _first_comment(name, option, where)) for option in compose.options(name, where)
        ]

    return {
        "ablations": lambda: [
            (n, ablation_schema.load(n, where).title) for n in ablation_schema.names(where)
        ],
        "arms": list,
        "benchmarks": _benchmarks,
        "budgets": group("budget"),
        "components": lambda: [
            (n, f"{c.label}. Off: {c.off}. {c.reason}")
            for n, c in ablation_schema.components(where).items()
        ],
        "data": lambda: [(n, _first_line(c)) for n, c in schema.DATA.items()],
        "methods": lambda: [(n, _first_line(c)) for n, c in methods.METHODS.items()],
        "models": lambda: [
            (name, "  ".join(filter(None, (profile.describe(name), about))))
            for name, about in group("model")()
        ],
        "recipes": lambda: [*group("recipe")(), *_of_methods(where)],
        "spaces": group("space"),
    }


def _of_methods(where: list[Path]) -> Rows:
    """What recipes say of each method."""
    names = compose.options("recipe/method", where)
    return [(f"  {n}", _first_comment("recipe/method", n, where)) for n in names]


def _benchmarks() -> Rows:
    """What `benchmark=[...]` may name: a run's own data, lists, published sets."""
    own = [(n, "the data's own test part") for n in sorted(evaluate.BENCHMARKS)]
    lists = [(n, ", ".join(datasets.benchmark(n))) for n in datasets.benchmarks()]
    return [*own, *lists, *((n, d.title) for n, d in datasets.DATASETS.items())]


def _arms(ablation: object, where: list[Path]) -> Rows:
    if ablation is None:
        raise UserError(
            "list arms needs ablation=: choose from " + ", ".join(ablation_schema.names(where))
        )
    found = designs.arms(ablation_schema.load(str(ablation), where))
    return [(name, f"{arm.label} ({arm.role})") for name, arm in found.items()]


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _first_comment(group: str, option: str, where: list[Path]) -> str:
    for folder in where:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            said = [
                t[2:] for t in path.read_text().splitlines() if t.startswith("# ") and "@" not in t
            ]
            return said[0] if said else ""
    return ""
