"""The identity of runs and of code: run ids, the training hash and the source hash."""

from __future__ import annotations

import ast
import dataclasses
import sys
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from uniclip.config import RUN_ONLY, RunConfig, build_run_config, plugins
from uniclip.config.binding import TAGGED_UNIONS, get_field_types, to_builtins
from uniclip.io.hashing import digest, digest_text, get_library_version, to_canonical_json
from uniclip.io.memo import disk_memoize

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("uniclip", "ablations", "sweeps", "analysis")
TRAINING_LIBRARIES = ("torch", "timm", "transformers", "tokenizers", "numpy")
TRAINING_ROOT = "uniclip.training.trainer"


def to_hashable_config(config: Any) -> Any:
    """Return a configuration as plain values, without run-only fields.

    Fields that equal their `value_if_missing` are left out: so a new field does not change the ids
    of runs that do not use it.
    """
    if not dataclasses.is_dataclass(config):
        return to_builtins(config)
    hashable = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.metadata.get("run_only") or (isinstance(config, RunConfig) and f.name in RUN_ONLY):
            continue
        if "value_if_missing" in f.metadata and value == f.metadata["value_if_missing"]:
            continue
        hashable[f.name] = to_hashable_config(value)
    return hashable


def build_spec(config: RunConfig, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec, of which the run id is the hash: configuration and data fingerprint."""
    return {"config": to_hashable_config(config), "data": to_builtins(fingerprint)}


def compute_run_id(spec: Mapping[str, Any]) -> str:
    """Return the id of a run: 16 hex digits over its spec."""
    return digest(spec)


def compute_run_ids(spec: Mapping[str, Any], seeds: Iterable[int]) -> dict[int, str]:
    """Return seed -> the id of the run with that seed and otherwise `spec`.

    Equal to `compute_run_id` of each spec, but encodes the spec only once.
    """
    marker = "\0seed"
    template = to_canonical_json({**spec, "config": {**spec["config"], "seed": marker}})
    before, after = template.split(to_canonical_json(marker))
    return {seed: digest_text(f"{before}{seed}{after}") for seed in seeds}


def config_from_spec(
    spec: Mapping[str, Any], run_only: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the configuration of a spec.

    Fields that the spec lacks take their `value_if_missing`. If the run starts from a checkpoint
    and `run_only` does not contain its path, `pretrained` is the digest of the file; so are the
    weights of an encoder.

    Args:
        spec: As returned by `build_spec`.
        run_only: What a spec does not contain (`uniclip.config.select_run_only`): the sections of
            `RUN_ONLY`, and of the data section the fields that say where the data lie.
    """
    run_only = run_only or {}
    plugins.import_plugins(run_only.get("runtime", {}).get("plugins", ()))
    digests = spec["data"]
    values = {"pretrained": digests.get("pretrained"), **_fill_missing(RunConfig, spec["config"])}
    values["data"] = {**values["data"], **run_only.get("data", {})}
    image, text = dict(values["model"]["image"]), dict(values["model"]["text"])
    image["pretrained"] = run_only.get("model.image.pretrained", digests.get("image_pretrained"))
    text["folder"] = run_only.get("model.text.folder", digests.get("text_folder"))
    values["model"] = {**values["model"], "image": image, "text": text}
    sections = {k: v for k, v in run_only.items() if k != "data" and "." not in k}
    return build_run_config({**values, **sections})


def _fill_missing(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    filled_values = dict(values)
    field_types = get_field_types(cls)
    for f in dataclasses.fields(cls):
        union_members = TAGGED_UNIONS.get((cls, f.name))
        if f.name not in filled_values:
            if "value_if_missing" in f.metadata:
                filled_values[f.name] = f.metadata["value_if_missing"]
            continue
        field_class = (
            union_members.get(filled_values[f.name].get("name"))
            if union_members
            else field_types[f.name]
        )
        if field_class is not None and dataclasses.is_dataclass(field_class):
            filled_values[f.name] = _fill_missing(
                typing.cast(type, field_class), filled_values[f.name]
            )
    return filled_values


def compute_training_hash() -> str:
    """Return 16 hex digits over the code that training imports, and library versions.

    The code is every module of this package that `TRAINING_ROOT` imports, directly or not, and all
    of every plug-in, as syntax trees without docstrings: comments and formatting change nothing.
    """
    return _compute_training_hash(plugins.get_plugin_paths())


def compute_source_hash() -> str:
    """Return 16 hex digits over the bytes of all files of the packages and plug-ins.

    Files count whether git tracks them or not.
    """
    return digest(_digest_sources(plugins.get_plugin_paths()))


def hash_source_tree(root: Path) -> str:
    """Return the source hash of a tree with the packages and plug-ins, such as a snapshot."""
    return digest(
        _digest_files(root, [root / plugin_path.name for plugin_path in plugins.get_plugin_paths()])
    )


@cache
def _compute_training_hash(plugin_paths: tuple[Path, ...]) -> str:
    libraries = {n: get_library_version(n) for n in TRAINING_LIBRARIES}
    training_packages = (PACKAGES[0], *(plugin_path.name for plugin_path in plugin_paths))
    source_digests = {
        path: s
        for path, s in _digest_sources(plugin_paths).items()
        if Path(path).parts[0] in training_packages
    }
    # Parsing takes half a second, for which every `plan` would wait: cached for these bytes.
    code = disk_memoize(
        "training", digest([sys.version, source_digests]), lambda: _hash_code(plugin_paths)
    )
    return digest({"code": code, "libraries": libraries})


def _hash_code(plugin_paths: tuple[Path, ...]) -> str:
    modules = _find_imported_modules(TRAINING_ROOT)
    for plugin_path in plugin_paths:
        source_files = [plugin_path] if plugin_path.is_file() else sorted(plugin_path.rglob("*.py"))
        for path in filter(Path.is_file, source_files):  # lock files of editors are dangling links
            modules[str(path.relative_to(plugin_path.parent))] = ast.parse(path.read_text())
    return digest({name: _dump_without_docstrings(tree) for name, tree in modules.items()})


@cache
def _digest_sources(plugin_paths: tuple[Path, ...]) -> dict[str, str]:
    return _digest_files(ROOT, plugin_paths)


def _digest_files(root: Path, plugin_paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> digest of every file of the packages and plug-ins, but for `__pycache__`."""
    source_paths = [root / "sweep.py", *(root / package for package in PACKAGES), *plugin_paths]
    digests = {}
    for source_path in source_paths:
        for path in [source_path] if source_path.is_file() else source_path.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = str(path.relative_to(source_path.parent))
                digests[name] = blake2b(path.read_bytes()).hexdigest()
    return digests


def _find_imported_modules(root: str) -> dict[str, ast.Module]:
    """Return the modules of `PACKAGES` that `root` imports, directly or not, with their packages.

    The top packages are left out: `uniclip/__init__.py` imports the loading of trained models, but
    only on access of `uniclip.load`.
    """
    modules: dict[str, ast.Module] = {}
    pending = [root]
    while pending:
        name = pending.pop()
        path = _find_module_file(name)
        if path is None or name in modules or name in PACKAGES:
            continue
        modules[name] = ast.parse(path.read_text())
        pending += [name.rpartition(".")[0], *_list_imports(modules[name])]
    return modules


def _find_module_file(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and name.split(".")[0] in PACKAGES:
            return path
    return None


def _list_imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _dump_without_docstrings(tree: ast.Module) -> str:
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
