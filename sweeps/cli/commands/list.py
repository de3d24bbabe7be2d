"""`sweep.py list`: list the choices that a key or a name has."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ablations import designs
from ablations import schema as ablation_schema
from sweeps.config.request import list_conf_dirs, parse_overrides
from sweeps.monitor.terminal import make_console
from uniclip import evaluate
from uniclip.config import DATA, compose, methods
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.models import profile
from uniclip.store import Component

Entries = list[tuple[str, str]]
"""(name, description) of each choice."""
KINDS = (
    *("ablations", "arms", "benchmarks", "budgets", "components", "data", "methods", "models"),
    *("recipes", "spaces"),
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the kind of choices."""
    parser.add_argument("names", nargs="*", metavar="kind", help=" | ".join(KINDS))


def run(arguments: Namespace) -> int:
    """Print the choices of one kind with a description each, or the kinds."""
    values = parse_overrides(arguments.overrides)
    values.pop("runtime.plugins", None)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    console = make_console()
    if not arguments.names:
        console.print("list " + " | ".join(KINDS), markup=False)
        return 0
    if len(arguments.names) > 1:
        raise UserError("list takes one name: " + ", ".join(KINDS))
    (kind,) = arguments.names
    if kind not in KINDS:
        raise make_unknown_name_error("list", kind, KINDS)
    if kind == "arms":
        entries = _list_arms(values.pop("ablation", None), conf_dirs)
    else:
        entries = _make_listings(conf_dirs)[kind]()
    if values:
        raise UserError(f"list takes no {sorted(values)[0]}=")
    width = max((len(name) for name, _ in entries), default=0)
    for name, description in entries:
        console.print(f"{name:<{width}}  {description}".rstrip(), markup=False)
    return 0


def _make_listings(conf_dirs: Sequence[Path]) -> dict[str, Callable[[], Entries]]:
    """Return for each kind but arms the function that lists its choices."""
    return {
        "ablations": lambda: _list_ablations(conf_dirs),
        "benchmarks": lambda: _list_benchmarks(conf_dirs),
        "budgets": lambda: _list_group("budget", conf_dirs),
        "components": lambda: _list_components(conf_dirs),
        "data": lambda: _list_classes(DATA),
        "methods": lambda: _list_classes(methods.METHODS),
        "models": lambda: _list_models(conf_dirs),
        "recipes": lambda: _list_recipes(conf_dirs),
        "spaces": lambda: _list_group("space", conf_dirs),
    }


def _list_group(group: str, conf_dirs: Sequence[Path]) -> Entries:
    """Return the options of a group of YAML files, each with its first comment."""
    options = compose.list_choices(group, conf_dirs)
    return [(option, _read_first_comment(group, option, conf_dirs)) for option in options]


def _list_ablations(conf_dirs: Sequence[Path]) -> Entries:
    names = ablation_schema.list_ablations(conf_dirs)
    return [(name, ablation_schema.load_ablation(name, conf_dirs).title) for name in names]


def _list_arms(ablation: object, conf_dirs: Sequence[Path]) -> Entries:
    if ablation is None:
        choices = ", ".join(ablation_schema.list_ablations(conf_dirs))
        raise UserError(f"list arms needs ablation=: choose from {choices}")
    definition = ablation_schema.load_ablation(str(ablation), conf_dirs)
    arms = designs.build_arms(definition)
    components = ablation_schema.load_components(conf_dirs)
    short_labels = {name: c.short_label or c.label for name, c in components.items()}
    return [
        (
            name,
            designs.format_arm_label(arm.components_off, definition.components, short_labels)
            if arm.role == "crossed"
            else arm.label,
        )
        for name, arm in arms.items()
    ]


def _list_benchmarks(conf_dirs: Sequence[Path]) -> Entries:
    """Return what `benchmark=[...]` may name: test splits of sources, lists, published sets."""
    sources = [(name, f"test split of data={name}") for name in sorted(evaluate.BENCHMARKS)]
    lists = []
    for name in datasets.list_benchmarks():
        comment = _read_first_comment("benchmark", name, conf_dirs)
        lists.append((name, f"{comment.rstrip('.')}: {', '.join(datasets.read_benchmark(name))}"))
    return [*sources, *lists, *((n, d.title) for n, d in datasets.DATASETS.items())]


def _list_components(conf_dirs: Sequence[Path]) -> Entries:
    return [
        (name, f"{component.label} (off: {_format_overrides(component)}). {component.reason}")
        for name, component in ablation_schema.load_components(conf_dirs).items()
    ]


def _format_overrides(component: Component) -> str:
    """Return the keys that turning a component off sets, as a user types them."""
    return " ".join(f"{key}={value}" for key, value in component.off_overrides.items())


def _list_classes(classes: Mapping[str, type]) -> Entries:
    return [(name, (cls.__doc__ or "").strip().splitlines()[0]) for name, cls in classes.items()]


def _list_models(conf_dirs: Sequence[Path]) -> Entries:
    return [
        (name, "  ".join(filter(None, (profile.describe_preset(name), description))))
        for name, description in _list_group("model", conf_dirs)
    ]


def _list_recipes(conf_dirs: Sequence[Path]) -> Entries:
    """Return the recipes, and below them the methods that have a published one."""
    method_recipes = _list_group("recipe/method", conf_dirs)
    return [*_list_group("recipe", conf_dirs), *((f"  {n}", text) for n, text in method_recipes)]


def _read_first_comment(group: str, option: str, conf_dirs: Sequence[Path]) -> str:
    for folder in conf_dirs:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            for line in path.read_text().splitlines():
                if line.startswith("# ") and "@" not in line:
                    return line[2:]
            return ""
    return ""
