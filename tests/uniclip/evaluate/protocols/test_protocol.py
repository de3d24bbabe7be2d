from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.errors import UserError

OPENMOJI = {"name": "openmoji"}
SCENES = {"name": "scenes"}


def test_protocols_need_neither_torch_nor_numpy():
    code = (
        "import sys\n"
        "from uniclip import evaluate\n"
        "from uniclip.config import build_run_config\n"
        "c = build_run_config({'data': {'name': 'scenes'}, 'method': {'name': 'clip'}})\n"
        "for name in evaluate.BENCHMARKS:\n"
        "    if evaluate.describe_missing(name, c) is None:\n"
        "        evaluate.evaluation_hash(name, c)\n"
        "assert not {'torch', 'numpy', 'scipy', 'transformers', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["openmoji", "scenes"])
def test_a_protocol_is_json_with_the_required_keys(name):
    stated = evaluate.build_protocol(name, stub_models.config(SCENES))
    assert json.loads(json.dumps(stated)) == stated
    assert stated["benchmark"] == name
    assert stated["split"] == "test"
    assert {"data", "retrieval"} <= set(stated)


@pytest.mark.parametrize("name", ["openmoji", "scenes"])
def test_the_hash_depends_only_on_what_is_evaluated(name):
    base = stub_models.config(SCENES)
    other = stub_models.config(
        {**SCENES, "num_train": 500, "caption_swap_prob": 0.5, "attribute_dropout_prob": 0.1},
        seed=3,
        stream=1,
        model={"embed_dim": 16},
        train={"steps": 7},
        benchmark=["scenes"],
    )
    assert evaluate.evaluation_hash(name, base) == evaluate.evaluation_hash(name, other)
    assert len(evaluate.evaluation_hash(name, base)) == 8


def test_the_hash_depends_on_the_evaluated_data():
    base = evaluate.evaluation_hash("scenes", stub_models.config(SCENES))
    for change in (
        {"redraw_prob": {"side": 0.9}},
        {"damaged_views": "strong"},
        {"num_test": 99},
        {"image_size": 48},
    ):
        assert evaluate.evaluation_hash("scenes", stub_models.config({**SCENES, **change})) != base
    assert evaluate.evaluation_hash("scenes", stub_models.config(OPENMOJI)) == base
    default = evaluate.evaluation_hash("openmoji", stub_models.config(SCENES))
    assert evaluate.evaluation_hash("openmoji", stub_models.config(OPENMOJI)) == default
    larger = stub_models.config({**OPENMOJI, "image_size": 96})
    assert evaluate.evaluation_hash("openmoji", larger) != default


def test_a_changed_prompt_or_definition_changes_the_hash(monkeypatch):
    from uniclip.evaluate.benchmarks import openmoji

    config = stub_models.config(OPENMOJI)
    before = evaluate.evaluation_hash("openmoji", config)
    monkeypatch.setitem(openmoji.TEMPLATES, "gender", ("a {}",))
    changed = evaluate.evaluation_hash("openmoji", config)
    assert changed != before
    monkeypatch.setitem(openmoji.NAMES, "gender", {"man": ("male",), "woman": ("female",)})
    assert evaluate.evaluation_hash("openmoji", config) not in (before, changed)


def test_unknown_benchmark_names_the_nearest():
    with pytest.raises(UserError, match="did you mean openmoji"):
        evaluate.build_protocol("openemoji", stub_models.config(SCENES))


def test_csv_is_missing_for_other_runs_and_for_a_missing_file(tmp_path):
    assert "data=csv" in evaluate.describe_missing("csv", stub_models.config(SCENES))
    absent = stub_models.config({"name": "csv", "path": str(tmp_path / "no.csv")})
    assert "no.csv" in evaluate.describe_missing("csv", absent)
    assert evaluate.describe_missing("scenes", absent) is None
