"""The table of timm's models is that of the installed timm, and is searched."""

from __future__ import annotations

import timm

from uniclip.config import timm_models
from uniclip.models.timm_table import measure_model


def test_the_table_has_the_models_of_the_tested_timm() -> None:
    names = [model.name for model in timm_models.read_table()]
    if timm_models.read_table_version() == timm.__version__:
        assert names == timm.list_models()
    assert len(names) > 1000


def test_models_are_found_by_part_and_by_pattern() -> None:
    names = [model.name for model in timm_models.find_models("RESNET18")]
    assert "resnet18" in names
    assert all("resnet18" in name for name in names)
    (model,) = timm_models.find_models("resnet1[8]")
    assert model.describe() == "   11.2 M,   3.627 GFLOPs at 224 px"
    assert timm_models.find_models("resnet1[8].a1_in1k") == [model], "the tag does not count"
    assert timm_models.find_models("nothing-like-this") == timm_models.find_models(".a1_in1k") == []


def test_a_table_is_read_as_it_was_written() -> None:
    models = timm_models.find_models("resnet18")
    text = timm_models.format_table(models, "1.2.3")
    assert text.startswith("# Models of timm 1.2.3,")
    assert [timm_models._parse_row(line.split("\t")) for line in text.splitlines()[2:]] == models


def test_a_row_is_measured_again() -> None:
    (model,) = timm_models.find_models("resnet1[8]")
    assert measure_model("resnet18") == model
