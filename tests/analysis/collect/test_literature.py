"""Published values: facts with sources, and comparisons of the setups that are stated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.collect import literature
from analysis.collect.literature import PublishedResult, Setup
from tests.helpers import ROOT, fake_published_sets
from uniclip.evaluate import datasets

SETUP = Setup(backbone="ViT-B/32", pretraining_data="YFCC15M", protocol="clip2021")


@pytest.mark.parametrize(
    ("changes", "comparison"),
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
def test_setups_are_compared_by_what_is_stated(changes: dict, comparison: str) -> None:
    assert literature.compare_setups(replace(SETUP, **changes), SETUP) == comparison
    assert literature.compare_setups(SETUP, replace(SETUP, **changes)) == comparison


def test_the_setup_of_an_arm() -> None:
    base_config = fake_published_sets.build_plan().base_config

    def get_setup(**config_diff: object) -> Setup:
        return literature.get_arm_setup(base_config, config_diff)

    assert get_setup() == SETUP
    emoji = get_setup(**{"data.name": "openmoji"})
    assert emoji.pretraining_data == "openmoji", "the name of a known source counts"
    assert not get_setup(**{"runtime.pretraining_data": ""}).pretraining_data
    warm_start = {"data.name": "openmoji", "pretrained": "x.pt", "runtime.pretraining_data": ""}
    assert not get_setup(**warm_start).pretraining_data
    assert get_setup(**{"model.image.image_size": 448}).backbone != "ViT-B/32"
    assert get_setup(**{"model.image.options.depth": 3}).backbone != "ViT-B/32"
    swin = {"model.image.name": "swin_tiny_patch4_window7_224"}
    drop_path = {"model.image.options.drop_path_rate": 0.2}
    assert get_setup(**swin, **drop_path).backbone == "Swin-T"
    tiny = {"image": {"name": "convnext_atto", "image_size": 224, "options": {"depths": [1]}}}
    tiny_config = {**base_config, "model": tiny}
    assert literature.get_arm_setup(tiny_config, {}).backbone == "convnext_atto at 224 pixels"
    assert literature.get_arm_setup(tiny_config, swin).backbone == "Swin-T", (
        "without the options of the base configuration"
    )


def test_the_protocol_of_an_arm_comes_before_that_of_the_base() -> None:
    base_config = fake_published_sets.build_plan().base_config
    assert literature.get_protocol_name(base_config, {}) == "clip2021"
    own_protocol = {"runtime.protocol": "slip2021"}
    assert literature.get_protocol_name(base_config, own_protocol) == "slip2021"
    custom = {"runtime.protocol.name": "custom"}
    assert literature.get_protocol_name(base_config, custom) == "custom"


def test_published_data_sets_are_those_of_no_benchmark() -> None:
    plan = fake_published_sets.build_plan()
    datasets_of_plan = literature.list_published_datasets(
        plan.evaluation_hashes, plan.missing_datasets
    )
    assert datasets_of_plan == [*fake_published_sets.PRESENT, *fake_published_sets.MISSING]


@pytest.mark.parametrize("preset", ["vit_b32", "vit_b16", "vit_s16", "swin_t", "swin_b"])
def test_model_presets_have_published_names(preset: str) -> None:
    from uniclip.config.binding import to_builtins
    from uniclip.config.compose import CONF, flatten
    from uniclip.models import profile

    model = to_builtins(profile.load_preset(CONF / "model" / f"{preset}.yaml"))
    names = {row.backbone for row in literature.load_published_results()}
    backbone = literature._get_backbone_name(*[flatten({"model": model})] * 2)
    assert backbone in names
    assert backbone is not None
    assert backbone.lower().replace("/", "").replace("-", "_") == preset


def test_every_row_has_a_source() -> None:
    rows = literature.load_published_results()
    assert len(rows) == 226
    assert len({(r.method, r.backbone, r.pretraining_data, r.task, r.dataset, r.metric)
                for r in rows}) == len(rows)  # fmt: skip
    known_datasets = {*datasets.DATASETS, "mean over 14 data sets (list not published)"}
    for row in rows:
        assert 0 < row.value < 100
        assert row.source
        assert row.confidence in ("primary", "result page", "secondary")
        assert row.dataset in known_datasets
        assert row.score is not None
    assert {r.protocol for r in rows} == {"", "slip2021"}


def test_the_file_contains_no_comparison() -> None:
    names = set(PublishedResult.__dataclass_fields__)
    assert not names & {"verdict", "comparison", "setup_comparison"}
    header = (ROOT / "analysis/data/published.csv").read_text().splitlines()[0]
    assert set(header.split(",")) == names
