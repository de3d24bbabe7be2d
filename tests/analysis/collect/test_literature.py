"""Published values: facts with sources, and verdicts worked out from what is stated."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect import literature
from analysis.collect.frame import collect_sweep_data
from analysis.collect.literature import PublishedResult, Setup
from analysis.results.results import analyze
from analysis.tables import scores
from analysis.tables.table import Table, to_csv, to_latex, to_markdown
from tests.helpers import ROOT, fake_published_sets
from uniclip.evaluate import datasets
from uniclip.store import Arm, Plan

OURS = Setup(backbone="ViT-B/32", pretraining_data="YFCC15M", protocol="clip2021")


def built(root: Path, change=lambda plan: plan) -> dict[str, Table]:
    store, sweep = fake_published_sets.make(root, change=change)
    return {
        t.name: t for t in scores.build_tables(analyze(store, collect_sweep_data(store, sweep)))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    return built(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "same"),
        ({"backbone": "ViT-B/16"}, "differs in: backbone"),
        (
            {"backbone": "RN50", "pretraining_data": "WIT", "protocol": "slip2021"},
            "differs in: backbone, pre-training data, protocol",
        ),
        ({"pretraining_data": "yfcc 15m"}, "same"),
        ({"protocol": None}, "unknown: protocol not stated"),
        ({"protocol": None, "backbone": "RN50"}, "differs in: backbone (not stated: protocol)"),
        ({"protocol": None, "pretraining_data": ""},
         "unknown: pre-training data, protocol not stated"),
    ],
)  # fmt: skip
def test_a_verdict_is_worked_out_from_what_is_stated(changes: dict, said: str) -> None:
    assert literature.compare_setups(replace(OURS, **changes), OURS) == said
    assert literature.compare_setups(OURS, replace(OURS, **changes)) == said


def arm(delta: dict) -> Arm:
    return Arm(name="a", label="a", role="outside", levels={}, config_diff=delta)


def test_the_conditions_of_an_arm() -> None:
    plan = fake_published_sets.planned()
    assert literature.get_arm_setup(plan, arm({})) == OURS
    emoji = literature.get_arm_setup(plan, arm({"data.name": "openmoji"}))
    assert emoji.pretraining_data == "openmoji", "what is known is not to be renamed"
    silent = literature.get_arm_setup(plan, arm({"runtime.pretraining_data": ""}))
    assert not silent.pretraining_data
    started = arm({"data.name": "openmoji", "pretrained": "x.pt", "runtime.pretraining_data": ""})
    assert not literature.get_arm_setup(plan, started).pretraining_data
    assert (
        literature.get_arm_setup(plan, arm({"model.image.image_size": 448})).backbone != "ViT-B/32"
    )
    depth = arm({"model.image.options.depth": 3})
    assert literature.get_arm_setup(plan, depth).backbone != "ViT-B/32"
    swin = {"model.image.name": "swin_tiny_patch4_window7_224"}
    drop = {**swin, "model.image.options.drop_path_rate": 0.2}
    assert literature.get_arm_setup(plan, arm(drop)).backbone == "Swin-T"
    tiny = {"image": {"name": "convnext_atto", "image_size": 224, "options": {"depths": [1]}}}
    other = replace(plan, base_config={**plan.base_config, "model": tiny})
    assert literature.get_arm_setup(other, arm({})).backbone == "convnext_atto at 224 pixels"
    assert literature.get_arm_setup(other, arm(swin)).backbone == "Swin-T", (
        "not with the base's options"
    )


@pytest.mark.parametrize("preset", ["vit_b32", "vit_b16", "vit_s16", "swin_t", "swin_b"])
def test_our_presets_have_published_names(preset: str) -> None:
    from uniclip.config.binding import to_builtins
    from uniclip.config.compose import CONF, flatten
    from uniclip.models import profile

    model = to_builtins(profile.load_preset(CONF / "model" / f"{preset}.yaml"))
    names = {row.backbone for row in literature.load_published_results()}
    own = literature._get_backbone_name(*[flatten({"model": model})] * 2)
    assert own in names
    assert own is not None
    assert own.lower().replace("/", "").replace("-", "_") == preset


def test_every_row_is_a_fact_with_a_source() -> None:
    rows = literature.load_published_results()
    assert len(rows) == 220
    assert len({(r.method, r.backbone, r.pretraining_data, r.task, r.dataset, r.metric)
                for r in rows}) == len(rows)  # fmt: skip
    known = {*datasets.DATASETS, "mean over 14 data sets (list not published)"}
    for row in rows:
        assert 0 < row.value < 100
        assert row.source
        assert row.confidence in ("primary", "result page", "secondary")
        assert row.dataset in known
        assert row.score is not None or row.task == "supervised"
    assert {r.protocol for r in rows} == {"", "slip2021"}


def test_rows_stand_beside_the_table_of_their_score_and_sets(made: dict[str, Table]) -> None:
    for name, score in (("zero_shot", "zeroshot"), ("linear_probe", "probe")):
        table = made[f"published_{name}"]
        shown = list(csv.DictReader(to_csv(table).splitlines()))
        sets = {*fake_published_sets.HERE, *fake_published_sets.GONE}
        wanted = [
            r for r in literature.load_published_results() if r.score == score and r.dataset in sets
        ]
        assert len(shown) == len(wanted) > 10
        assert {r["score"] for r in shown} == {score}
        assert not any(e.bold for row in table.rows for e in row)
    assert "dtd" in made["published_zero_shot"].headings
    assert "voc2007" not in made["published_zero_shot"].headings, "nobody published it here"
    assert "mean over 14" not in to_markdown(made["published_zero_shot"])
    ways = made["published_retrieval_captions"], made["published_retrieval_pictures"]
    clip = [next(row for row in t.rows if row[0].text == "CLIP") for t in ways]
    column = ways[0].headings.index("flickr30k R@1")
    assert [row[column].text for row in clip] == ["0.349", "0.234"]


def test_the_odd_value_has_its_note_beside_it(made: dict[str, Table]) -> None:
    table = made["published_zero_shot"]
    odd = [row for row in table.rows if row[table.headings.index("flowers102")].text == "0.080"]
    (row,) = odd
    assert row[0].text == "UniCLIP"
    said = row[table.headings.index("note")].text
    assert said == "flowers102: other methods on YFCC15M have 49 to 64; cause unknown"
    others = [
        r.value
        for r in literature.load_published_results()
        if (r.dataset, r.task, r.pretraining_data) == ("flowers102", "zero_shot", "YFCC15M")
    ]
    assert (round(min(others)), round(max(others))) == (49, 64)
    assert "cause unknown" in to_latex(table)


def test_verdicts_follow_the_arms(made: dict[str, Table], tmp_path: Path) -> None:
    table = made["published_zero_shot"]
    column = table.headings.index("against our arms")
    by_row = {(r[0].text, r[1].text, r[2].text): r[column].text for r in table.rows}
    assert by_row["CLIP", "ViT-B/32", "YFCC15M"] == "unknown: protocol not stated"
    assert by_row["SLIP", "ViT-B/16", "YFCC15M"] == "differs in: backbone, protocol"
    swin = by_row["UniCL", "Swin-T", "IN-21K"]
    assert swin == "differs in: backbone, pre-training data (not stated: protocol)"

    def change(plan: Plan) -> Plan:
        moved = {"data.name": "openmoji"}
        return fake_published_sets.with_arm(plan, "clip", moved)

    table = built(tmp_path, change)["published_zero_shot"]
    (mixed,) = {r[column].text for r in table.rows if r[:3] == tuple(row_of(table, "CLIP")[:3])}
    assert "differs in: pre-training data (not stated: protocol) (CLIP)" in mixed
    assert mixed.startswith("unknown: protocol not stated (UniCLIP, all components, ")


def row_of(table: Table, method: str) -> tuple:
    return next(r for r in table.rows if r[0].text == method and r[1].text == "ViT-B/32")


def test_no_verdict_stands_in_the_file() -> None:
    names = set(PublishedResult.__dataclass_fields__)
    assert "verdict" not in names
    header = (ROOT / "analysis/data/published.csv").read_text().splitlines()[0]
    assert set(header.split(",")) == names
