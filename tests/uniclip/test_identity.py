"""A run's name is its content: what changes it, what does not, and that it stays what it was."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from uniclip import identity
from uniclip.config import DATA, METHODS, RunConfig, UniclipMethod, build_run_config
from uniclip.config import schema as config_module
from uniclip.config.binding import config_field, list_run_only_fields, to_builtins
from uniclip.config.compose import flatten, set_key
from uniclip.errors import UserError
from uniclip.identity import (
    build_spec,
    compute_run_id,
    compute_run_ids,
    config_from_spec,
    to_hashable_config,
)

GOLDEN = Path(__file__).with_name("golden_runs.json")
FINGERPRINT = {"data": "fixed", "version": "1.0"}

Config = dict[str, Any]


def make(data: str = "openmoji", method: str = "uniclip", **sections: Any) -> RunConfig:
    return build_run_config({"data": {"name": data}, "method": {"name": method}, **sections})


def name_of(config: RunConfig) -> str:
    return compute_run_id(build_spec(config, FINGERPRINT))


def leaves(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field that is not itself a section."""
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, (*path, f.name))
        else:
            yield (*path, f.name)


def changed(config: Any, path: tuple[str, ...]) -> Any:
    """The same with another value at `path` (past validation: only the hash is asked)."""
    name, *rest = path
    value = getattr(config, name)
    new = changed(value, tuple(rest)) if rest else other(value)
    copy = object.__new__(type(config))
    for f in dataclasses.fields(config):
        object.__setattr__(copy, f.name, new if f.name == name else getattr(config, f.name))
    return copy


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, dict):
        return {**value, "another": 1}
    if isinstance(value, tuple):
        return (*value[:-1], other(value[-1])) if value else ("another",)
    return f"{value}-another"


ALL_LEAVES = [
    (data, method, path)
    for data, method in [*((d, "uniclip") for d in DATA), ("openmoji", "clip")]
    for path in leaves(make(data, method))
]


PLACES = {
    "csv": ("path", "test_path", "separator", "max_broken", "verify"),
    "webdataset": ("path", "max_broken", "verify", "labelled_path", "class_names_path"),
    "huggingface": ("path", "max_broken", "verify"),
}
"""Fields of data sections that say where data lie, how they are read or checked: their content is
in the fingerprint."""


@pytest.mark.parametrize(
    ("data", "method", "path"),
    ALL_LEAVES,
    ids=[f"{d}-{m}-{'.'.join(p)}" for d, m, p in ALL_LEAVES],
)
def test_every_leaf_changes_the_name_unless_it_is_run_only(
    data: str, method: str, path: tuple[str, ...]
) -> None:
    before = make(data, method)
    after = changed(before, path)
    run_only = {*config_module.RUN_ONLY, *(f"data.{name}" for name in PLACES.get(data, ()))}
    assert (name_of(before) == name_of(after)) == bool({path[0], ".".join(path)} & run_only)


def test_run_only_is_the_named_list() -> None:
    """What decides weights must never slip into it; the file of `pretrained` is in the
    fingerprint."""
    assert config_module.RUN_ONLY == (
        *("runtime", "benchmark", "pretrained", "allow_torchscript"),
        *("model.image.pretrained", "model.text.folder"),
    )
    assert not set(to_hashable_config(make())) & set(config_module.RUN_ONLY)
    for name, data_class in DATA.items():
        assert list_run_only_fields(data_class) == PLACES.get(name, ()), name


def test_where_data_lie_is_told_apart_from_what_they_are() -> None:
    before = make(data="csv")
    there = build_run_config(
        {**to_builtins(before), "data": {**to_builtins(before.data), "path": "/there/x.csv"}}
    )
    assert name_of(before) == name_of(there)
    spec = build_spec(there, FINGERPRINT)
    assert "path" not in spec["config"]["data"]
    base = to_builtins(there)
    told = config_module.select_run_only(base, {})
    assert told["data"] == {
        "path": "/there/x.csv",
        "test_path": "",
        "separator": "auto",
        "max_broken": 0.01,
        "verify": False,
    }
    assert config_from_spec(spec, told) == there
    assert config_from_spec(spec).data.path == ""  # nobody knows: its weights need no data
    other_arm = config_module.select_run_only(base, {"data.verify": True, "data.name": "csv"})
    assert other_arm["data"]["verify"] is True
    assert "data" not in config_module.select_run_only(to_builtins(make()), {})


def test_what_an_arm_says_of_its_execution_reaches_the_process_that_executes_it() -> None:
    base = to_builtins(make())
    changes = {"runtime.evaluation_split": "validation", "runtime.protocol.name": "mine"}
    told = config_module.select_run_only(base, {**changes, "benchmark": ["scenes"]})
    assert told["benchmark"] == ["scenes"]
    assert told["runtime"] == {
        **base["runtime"],
        "evaluation_split": "validation",
        "protocol": {"name": "mine"},
    }
    assert base == to_builtins(make()), "the base is not changed"


@pytest.mark.parametrize("key", ["data.path", "pretrained", "runtime.data_root"])
def test_a_tilde_is_the_home_directory_in_every_path(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/her")
    values: dict[str, Any] = to_builtins(make(data="csv"))
    set_key(values, key, "~/a b/x")
    config = flatten(to_builtins(build_run_config(values)))
    assert config[key] == "/home/her/a b/x"
    set_key(values, key, "a/~/x")
    assert flatten(to_builtins(build_run_config(values)))[key] == "a/~/x"
    set_key(values, key, "~nobody-of-this-name/x")
    with pytest.raises(UserError, match=f"{key}=~nobody-of-this-name/x: there is no user"):
        build_run_config(values)


def test_a_run_that_is_read_back_knows_the_sum_of_its_start_or_is_told_the_place() -> None:
    written = build_spec(
        make(pretrained="x.pt", pretrained_towers="image"), {**FINGERPRINT, "pretrained": "a1b2"}
    )
    assert config_from_spec(written).pretrained == "a1b2"
    told = config_from_spec(written, {"pretrained": "y.pt", "allow_torchscript": True})
    assert (told.pretrained, told.allow_torchscript, told.pretrained_towers) == (
        "y.pt",
        True,
        "image",
    )
    older = {**written, "config": {**written["config"], "pretrained": "x.pt"}}
    assert config_from_spec(older).pretrained == "x.pt", (
        "as releases wrote it that hashed the place"
    )


def test_another_fingerprint_is_another_run() -> None:
    config = make()
    assert compute_run_id(build_spec(config, FINGERPRINT)) != compute_run_id(
        build_spec(config, {**FINGERPRINT, "size": 1})
    )


def test_a_name_is_sixteen_hex_digits_and_does_not_depend_on_the_order_of_keys() -> None:
    one = make(
        "scenes", train={"steps": 5, "batch_size": 8}, views={"num_weak": 2, "num_strong": 1}
    )
    two = build_run_config(_reversed(to_builtins(one)))
    assert name_of(one) == name_of(two)
    assert len(name_of(one)) == 16
    assert int(name_of(one), 16) >= 0
    scrambled = _reversed(json.loads(json.dumps(build_spec(one, FINGERPRINT))))
    assert compute_run_id(scrambled) == name_of(one)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reversed(value[k]) for k in reversed(value)}
    return value


def test_a_whole_number_where_a_float_is_asked_for_is_the_same_run() -> None:
    assert name_of(make(train={"grad_clip_norm": 1})) == name_of(
        make(train={"grad_clip_norm": 1.0})
    )
    whole, real = (
        build_run_config(
            {**to_builtins(make()), "method": {"name": "uniclip", "positive_weights": w}}
        )
        for w in ([1, 1, 1], [1.0, 1.0, 1])
    )
    assert name_of(whole) == name_of(real)


def test_run_ids_of_many_seeds_are_those_of_each_spec() -> None:
    spec = build_spec(make("csv", seed=7), FINGERPRINT)
    specs = {s: {**spec, "config": {**spec["config"], "seed": s}} for s in (0, 3, 10**20)}
    expected = {seed: compute_run_id(spec) for seed, spec in specs.items()}
    assert compute_run_ids(spec, specs) == expected


# ---- fields that are younger than a run ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class YoungerTrain(config_module.TrainConfig):
    """Training as a later release has it."""

    sharpness: float = config_field(0.0, low=0, value_if_missing=0.0)


@dataclass(frozen=True, kw_only=True)
class YoungerMethod(UniclipMethod):
    """A method as a later release has it; `value_if_missing` is not the default here."""

    queue_size: int = config_field(64, low=0, value_if_missing=0)


@dataclass(frozen=True, kw_only=True)
class YoungerRun(RunConfig):
    """A run as a later release has it."""

    train: YoungerTrain = config_field(YoungerTrain)
    memory: tuple[int, ...] | None = config_field(None, value_if_missing=None)


@pytest.fixture
def old_spec(monkeypatch: pytest.MonkeyPatch) -> Config:
    """The spec of a run of this release, in a process of the later one."""
    old = json.loads(json.dumps(build_spec(make(train={"steps": 7}), FINGERPRINT)))
    monkeypatch.setitem(config_module.TAGGED_UNIONS, (YoungerRun, "data"), DATA)
    methods = {**METHODS, "uniclip": YoungerMethod}
    monkeypatch.setitem(config_module.TAGGED_UNIONS, (YoungerRun, "method"), methods)
    for module in (config_module, identity):
        monkeypatch.setattr(module, "RunConfig", YoungerRun)
    return old


def test_an_absent_field_leaves_names_as_they_were(old_spec: Config) -> None:
    method = {"name": "uniclip", "queue_size": 0}
    new = build_run_config({"data": {"name": "openmoji"}, "method": method, "train": {"steps": 7}})
    assert isinstance(new, YoungerRun)
    assert new.train.sharpness == 0.0
    assert name_of(new) == compute_run_id(old_spec)
    for section in (
        {"train": {**to_builtins(new.train), "sharpness": 0.5}},
        {"memory": [1]},
        {"method": {"name": "uniclip", "queue_size": 64}},
    ):
        assert name_of(build_run_config({**to_builtins(new), **section})) != compute_run_id(
            old_spec
        )


def test_a_spec_older_than_a_field_reads_back_with_its_absent_value(old_spec: Config) -> None:
    assert "queue_size" not in old_spec["config"]["method"]
    read = config_from_spec(old_spec)
    assert read.method.queue_size == 0, "the default (64) is not what the old code did"
    assert read.train.sharpness == 0.0
    assert read.memory is None
    assert read.train.steps == 7
    assert compute_run_id(build_spec(read, FINGERPRINT)) == compute_run_id(old_spec)


def test_a_spec_says_all_that_its_run_needs() -> None:
    config = make("scenes", train={"steps": 7}, stream=3, seed=5)
    written = json.loads(json.dumps(build_spec(config, FINGERPRINT)))
    run_only = {"runtime": {"device": "cpu", "num_workers": 2}, "benchmark": ["scenes"]}
    read = config_from_spec(written, run_only)
    assert to_builtins(read) == {**to_builtins(config), **to_builtins(read) | {}} | {
        "runtime": to_builtins(read.runtime),
        "benchmark": ["scenes"],
    }
    assert read.runtime.num_workers == 2
    assert name_of(read) == name_of(config)
    assert (read.train, read.seed, read.stream) == (config.train, 5, 3)


def test_stream_zero_is_absent() -> None:
    assert "stream" not in to_hashable_config(make())
    assert to_hashable_config(make(stream=1))["stream"] == 1


def test_golden_names_are_what_they_were() -> None:
    """Never edit the golden file to make this pass: every stored run would be orphaned.

    Until the first release, a commit that renames hashed keys may write it anew: for each entry
    rename the keys of `values`, set `spec` to `build_spec(build_run_config(values), fingerprint)`
    and `run` to `compute_run_id(spec)`, and state in the message which ids change and why.
    """
    golden = json.loads(GOLDEN.read_text())
    assert len(golden) >= 6
    for entry in golden:
        built = build_spec(build_run_config(entry["values"]), entry["fingerprint"])
        assert compute_run_id(built) == entry["run"], entry["about"]
        assert (
            compute_run_id(build_spec(config_from_spec(entry["spec"]), entry["fingerprint"]))
            == entry["run"]
        )
        assert compute_run_id(entry["spec"]) == entry["run"]


# ---- hashes of the code --------------------------------------------------------------------------


Hashes = tuple[str, str]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree that tests may change."""
    copy = tmp_path_factory.mktemp("tree")
    for package in identity.PACKAGES:
        shutil.copytree(
            identity.ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(identity.ROOT / "sweep.py", copy)
    return copy


@pytest.fixture(scope="module")
def before(copied: Path) -> Hashes:
    """The hashes of the tree as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "ROOT", copied)
        return hashes()


@pytest.fixture
def tree(copied: Path, before: Hashes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy, and hashes look at it."""
    monkeypatch.setattr(identity, "ROOT", copied)
    return copied


def hashes() -> Hashes:
    """The training hash and the source hash, computed anew."""
    identity._digest_sources.cache_clear()
    found = identity._compute_training_hash.__wrapped__(()), identity.compute_source_hash()
    identity._digest_sources.cache_clear()
    return found


HASHES = """
import sys
from uniclip import identity
print(identity.compute_training_hash(), identity.compute_source_hash())
assert not {"torch", "timm", "transformers"} & set(sys.modules), "hashing imports torch"
"""


def test_another_process_in_another_folder_finds_the_same_hashes(
    copied: Path, before: Hashes
) -> None:
    env = {**os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HASHES], env=env, cwd=copied, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert tuple(done.stdout.split()) == before


@dataclass
class Edited:
    """A file of the tree with other text, until the test is over."""

    path: Path
    before: str | None

    @classmethod
    def write(cls, path: Path, text: str) -> Edited:
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        return cls(path, before)

    def undo(self) -> None:
        if self.before is None:
            self.path.unlink()
        else:
            self.path.write_text(self.before)


RNG = Path("uniclip/rng.py")


def rng_text(tree: Path, old: str, new: str) -> str:
    text = (tree / RNG).read_text()
    assert text.count(old) == 1
    return text.replace(old, new)


def test_comments_docstrings_and_formatting_change_the_source_hash_alone(
    tree: Path, before: Hashes
) -> None:
    text = rng_text(tree, '"""Return the 64-bit key', '"""Other words: the 64-bit key')
    text = text.replace("_ROUNDS = 10", "_ROUNDS = (\n    10  # as published\n)\n\n\n# a comment")
    edited = Edited.write(tree / RNG, text)
    after = hashes()
    edited.undo()
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert hashes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p1 >> _HALF) ^ c1", "p1 >> _HALF) | c1"),
        ("_ROUNDS = 10", "_ROUNDS = 9"),
        ("columns: int) -> NDArray[np.float64]:", "columns: int = 4) -> NDArray[np.float64]:"),
    ],
)
def test_a_changed_operator_number_or_default_changes_both(
    tree: Path, before: Hashes, old: str, new: str
) -> None:
    edited = Edited.write(tree / RNG, rng_text(tree, old, new))
    after = hashes()
    edited.undo()
    assert after[0] != before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(
    "name",
    [
        "analysis/statistics/effects.py", "sweeps/claims/claim.py", "sweep.py",
        "ablations/plan/plan.py", "uniclip/evaluate/scoring/retrieval.py", "uniclip/run.py",
        "uniclip/config/compose.py",
        "uniclip/conf/config.yaml", "analysis/notes.txt",
    ],
)  # fmt: skip
def test_what_training_does_not_import_leaves_the_training_hash(
    tree: Path, before: Hashes, name: str
) -> None:
    """Also a file that is new, and that no version control knows."""
    path = tree / name
    text = path.read_text() if path.exists() else ""
    edited = Edited.write(path, text + "\nADDED = 1\n")
    after = hashes()
    edited.undo()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_module_that_training_begins_to_import_counts(tree: Path, before: Hashes) -> None:
    """By whatever way it is imported: inside a function, too."""
    helper = Edited.write(tree / "uniclip/helper.py", "VALUE = 1\n")
    unused = hashes()
    text = (tree / RNG).read_text() + "\n\ndef late():\n    from uniclip import helper\n"
    edited = Edited.write(tree / RNG, text)
    used = hashes()
    helper.path.write_text("VALUE = 2\n")
    changed_helper = hashes()
    edited.undo()
    helper.undo()
    assert unused[0] == before[0]
    assert len({before[0], used[0], changed_helper[0]}) == 3


def test_training_reaches_what_decides_weights_and_not_what_judges_them() -> None:
    reached = set(identity._find_imported_modules(identity.TRAINING_ROOT))
    assert {
        "uniclip.training.trainer",
        "uniclip.rng",
        "uniclip.config",
        "uniclip.training.optimizer",
    } <= reached
    assert not {m for m in reached if m.split(".")[0] in ("analysis", "sweeps", "ablations")}
    assert not {m for m in reached if m.startswith(("uniclip.evaluate", "uniclip.run"))}
