"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ablations import designs
from ablations import schema as ablation_schema
from sweeps.config import request
from sweeps.monitor.terminal import make_console
from uniclip import evaluate
from uniclip.config import compose, methods, schema
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.models import profile

ListEntries = list[tuple[str, str]]


def print_choices(names: list[str], overrides: list[str]) -> int:
    """Print one kind of thing, or the kinds there are."""
    values = request.parse_overrides(overrides)
    values.pop("runtime.plugins", None)
    conf_dirs = request.list_conf_dirs(values.pop("conf_dir", None))
    listings = _build_listings(conf_dirs)
    if not names:
        make_console().print("list " + " | ".join(sorted(listings)), markup=False)
        return 0
    if len(names) > 1:
        raise UserError("list takes one name: " + ", ".join(sorted(listings)))
    if names[0] == "arms":
        entries = _list_arms(values.pop("ablation", None), conf_dirs)
    elif names[0] in listings:
        entries = listings[names[0]]()
    else:
        raise make_unknown_name_error("list", names[0], listings)
    if values:
        raise UserError(f"list takes no {sorted(values)[0]}=")
    width = max((len(name) for name, _ in entries), default=0)
    for name, description in entries:
        make_console().print(f"{name:<{width}}  {description}".rstrip(), markup=False)
    return 0


def _build_listings(conf_dirs: list[Path]) -> dict[str, Callable[[], ListEntries]]:
    def list_group(name: str) -> Callable[[], ListEntries]:
        return lambda: [
            (option, _read_first_comment(name, option, conf_dirs))
            for option in compose.list_choices(name, conf_dirs)
        ]

    return {
        "ablations": lambda: [
            (n, ablation_schema.load_ablation(n, conf_dirs).title)
            for n in ablation_schema.list_ablations(conf_dirs)
        ],
        "arms": list,
        "benchmarks": _list_benchmarks,
        "budgets": list_group("budget"),
        "components": lambda: [
            (n, f"{c.label}. Off: {c.off_overrides}. {c.reason}")
            for n, c in ablation_schema.load_components(conf_dirs).items()
        ],
        "data": lambda: [(n, _get_first_doc_line(c)) for n, c in schema.DATA.items()],
        "methods": lambda: [(n, _get_first_doc_line(c)) for n, c in methods.METHODS.items()],
        "models": lambda: [
            (name, "  ".join(filter(None, (profile.describe_preset(name), description))))
            for name, description in list_group("model")()
        ],
        "recipes": lambda: [*list_group("recipe")(), *_list_method_recipes(conf_dirs)],
        "spaces": list_group("space"),
    }


def _list_method_recipes(conf_dirs: list[Path]) -> ListEntries:
    """What recipes say of each method."""
    names = compose.list_choices("recipe/method", conf_dirs)
    return [(f"  {n}", _read_first_comment("recipe/method", n, conf_dirs)) for n in names]


def _list_benchmarks() -> ListEntries:
    """What `benchmark=[...]` may name: a run's own data, lists, published sets."""
    training_sources = [(n, "the data's own test part") for n in sorted(evaluate.BENCHMARKS)]
    benchmark_lists = [
        (n, ", ".join(datasets.read_benchmark(n))) for n in datasets.list_benchmarks()
    ]
    return [
        *training_sources,
        *benchmark_lists,
        *((n, d.title) for n, d in datasets.DATASETS.items()),
    ]


def _list_arms(ablation: object, conf_dirs: list[Path]) -> ListEntries:
    if ablation is None:
        raise UserError(
            "list arms needs ablation=: choose from "
            + ", ".join(ablation_schema.list_ablations(conf_dirs))
        )
    arms = designs.build_arms(ablation_schema.load_ablation(str(ablation), conf_dirs))
    return [(name, f"{arm.label} ({arm.role})") for name, arm in arms.items()]


def _get_first_doc_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _read_first_comment(group: str, option: str, conf_dirs: list[Path]) -> str:
    for folder in conf_dirs:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            comment_lines = [
                line[2:]
                for line in path.read_text().splitlines()
                if line.startswith("# ") and "@" not in line
            ]
            return comment_lines[0] if comment_lines else ""
    return ""
