"""What makes two runs the same run: the content of a configuration, and of the code behind it."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from uniclip.config import RUN_ONLY, RunConfig, plugins, run_config
from uniclip.config.binding import FAMILIES, hints, plain
from uniclip.io import atomic

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("uniclip", "ablations", "sweeps", "analysis")
TRAINING_LIBRARIES = ("torch", "timm", "transformers", "tokenizers", "numpy")
TRAINING_ROOT = "uniclip.training.trainer"


def canonical(value: Any) -> str:
    """JSON in one spelling: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, digits: int = 16) -> str:
    """The first hex `digits` of blake2b over the canonical JSON of `value`."""
    return blake2b(canonical(value).encode()).hexdigest()[:digits]


def hashed(config: Any) -> Any:
    """The plain configuration without what is run-only and fields at their `absent` value."""
    if not dataclasses.is_dataclass(config):
        return plain(config)
    kept = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(config, RunConfig) and f.name in RUN_ONLY:
            continue
        if "absent" in f.metadata and value == f.metadata["absent"]:
            continue
        kept[f.name] = hashed(value)
    return kept


def spec(config: RunConfig, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What a run id is the hash of: the training configuration and the data's fingerprint."""
    return {"config": hashed(config), "data": plain(fingerprint)}


def run_id(spec_: Mapping[str, Any]) -> str:
    """The name of a run: 16 hex digits over its spec."""
    return digest(spec_)


def config_of(spec_: Mapping[str, Any], run_only: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration that a spec describes; fields younger than it take their `absent` value.

    Where the run starts from a checkpoint and nobody says where that lies, `init` is its sum.
    """
    plugins.use((run_only or {}).get("runtime", {}).get("plugins", ()))
    start = {"init": spec_["data"].get("init")}
    values = _with_absent(RunConfig, spec_["config"])
    return run_config({**start, **values, **(run_only or {})})


def _with_absent(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(values)
    expected = hints(cls)
    for f in dataclasses.fields(cls):
        family = FAMILIES.get((cls, f.name))
        if f.name not in filled:
            if "absent" in f.metadata:
                filled[f.name] = f.metadata["absent"]
            continue
        member = family.get(filled[f.name].get("name")) if family else expected[f.name]
        if member is not None and dataclasses.is_dataclass(member):
            filled[f.name] = _with_absent(typing.cast(type, member), filled[f.name])
    return filled


def training_hash() -> str:
    """16 hex digits over the meaning of the code that training imports, and library versions.

    The code is every module of ours that `uniclip.training.trainer` reaches, and every plugin's, as syntax
    trees without docstrings: comments and formatting change nothing.
    """
    return _training_hash(plugins.places())


def source_hash() -> str:
    """16 hex digits over the bytes of every file in the package folders, tracked by git or not, and
    of plugins."""
    return digest(_sources(plugins.places()))


def source_hash_of(root: Path) -> str:
    """The source hash of a tree that holds the packages and plugins, such as a snapshot."""
    return digest(_sums(root, [root / place.name for place in plugins.places()]))


@cache
def _training_hash(own: tuple[Path, ...]) -> str:
    libraries = {n: library_version(n) for n in TRAINING_LIBRARIES}
    trained = (PACKAGES[0], *(place.name for place in own))
    ours = {path: s for path, s in _sources(own).items() if Path(path).parts[0] in trained}
    # Parsing takes half a second, which every `plan` would wait for: done once for these bytes.
    code = atomic.remembered("training", digest([sys.version, ours]), lambda: _code_hash(own))
    return digest({"code": code, "libraries": libraries})


def _code_hash(own: tuple[Path, ...]) -> str:
    modules = _reached(TRAINING_ROOT)
    for place in own:
        files_ = [place] if place.is_file() else sorted(place.rglob("*.py"))
        for path in filter(Path.is_file, files_):  # links of editors lead nowhere
            modules[str(path.relative_to(place.parent))] = ast.parse(path.read_text())
    return digest({name: _meaning(tree) for name, tree in modules.items()})


@cache
def _sources(own: tuple[Path, ...]) -> dict[str, str]:
    return _sums(ROOT, own)


def _sums(root: Path, own: Iterable[Path]) -> dict[str, str]:
    """Path -> sum of every file of a tree's packages and of plugins; what Python makes of them is
    left out."""
    places = [root / "sweep.py", *(root / package for package in PACKAGES), *own]
    sums = {}
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = str(path.relative_to(place.parent))
                sums[name] = blake2b(path.read_bytes()).hexdigest()
    return sums


@cache
def library_version(name: str) -> str:
    """The installed version of a distribution, without importing it; "absent" if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _reached(root: str) -> dict[str, ast.Module]:
    """Modules of ours that `root` imports, by whatever way; packages on the way to them included.

    Not the top packages: `uniclip/__init__.py` names `uniclip.run`, and with it all of evaluation,
    but only for who asks for `uniclip.load`.
    """
    reached: dict[str, ast.Module] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if path is None or name in reached or name in PACKAGES:
            continue
        reached[name] = ast.parse(path.read_text())
        waiting += [name.rpartition(".")[0], *_imports(reached[name])]
    return reached


def _module_file(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and name.split(".")[0] in PACKAGES:
            return path
    return None


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _meaning(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_bare_string(s)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_bare_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
