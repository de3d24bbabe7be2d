"""Records of a bundle that do not fit together, although every file has its hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.bundles.reader import check_bundle
from sweeps.bundles.verification import find_inconsistencies, open_bundle
from tests.helpers.labs import edit_json
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    check_bundle(lab.bundle, unpack_to=tmp_path / "b")
    return tmp_path / "b"


def test_a_bundle_as_written_is_consistent(folder: Path, lab: Lab) -> None:
    bundle = open_bundle(folder)
    assert list(find_inconsistencies(bundle)) == []
    assert bundle.plan == lab.plan


def forge_spec(run: Path) -> None:
    edit_json(run / "spec.json", config={"seed": 5})


def forge_outcome(run: Path) -> None:
    edit_json(run / "outcome.json", weights_digest="0" * 32)


def forge_weights(run: Path) -> None:
    (run / "weights.safetensors").write_bytes(b"other weights")


def forge_scores(run: Path) -> None:
    (path,) = (run / "scores").iterdir()
    path.rename(path.with_name("other@0123abcd.json"))


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (forge_spec, "not the hash of its spec.json"),
        (forge_outcome, "has scores of other weights"),
        (forge_weights, "its weights are not those of its outcome"),
        (forge_scores, "has scores of another evaluation"),
    ],
)
def test_each_forged_record_is_named(
    folder: Path, lab: Lab, forge: Callable[[Path], None], message: str
) -> None:
    run_id = lab.plan.cells[0].run_id
    forge(folder / "store" / "runs" / run_id)
    lines = list(find_inconsistencies(open_bundle(folder)))
    assert any(message in line and line.startswith(run_id) for line in lines), lines


def test_a_cell_without_a_spec_is_a_line(folder: Path, lab: Lab) -> None:
    run_id = lab.plan.cells[0].run_id
    (folder / "store" / "runs" / run_id / "spec.json").unlink()
    lines = list(find_inconsistencies(open_bundle(folder)))
    assert lines
    assert all(line.startswith(f"{run_id}: ") and "spec.json" in line for line in lines)


def test_what_a_killed_write_left_is_consistent(folder: Path, lab: Lab) -> None:
    run = folder / "store" / "runs" / lab.plan.cells[0].run_id
    (run / "scores" / ".x.json.1f2e").write_text("{")
    assert list(find_inconsistencies(open_bundle(folder))) == []


def test_an_environment_is_named_by_its_content(folder: Path, lab: Lab) -> None:
    path = folder / "store" / "environments" / ("0" * 16 + ".json")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    (line,) = find_inconsistencies(open_bundle(folder))
    assert line.startswith("environments/0000000000000000.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2"),
        ({"sweep": "../../x"}, "is no id of a sweep"),
        ({"sweep": "other-quick-00000000"}, "has no plan"),
        ({"cells": 3}, "is damaged"),
    ],
)
def test_a_description_that_is_not_ours_is_one_line(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=message):
        open_bundle(folder)
