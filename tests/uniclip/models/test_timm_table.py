"""Rows of the table are measured without weights, in the sizes of the presets' table."""

from __future__ import annotations

from uniclip.models import profile
from uniclip.models.timm_table import measure_model


def test_a_row_agrees_with_the_table_of_presets() -> None:
    preset = profile.read_profiles()["resnet50"]
    row = measure_model("resnet50")
    assert row.parameters == preset["image_parameters"]
    assert row.gflops == preset["image_gflops"]
    assert row.image_size == 224
