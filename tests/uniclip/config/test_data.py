"""Configurations of data sources: their defaults, and the interface that plug-ins implement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from uniclip.config import DATA, CsvData, MixData, RunConfig, build_run_config
from uniclip.config.data import DataConfig
from uniclip.errors import UserError
from uniclip.identity import to_hashable_config


@dataclass(frozen=True, kw_only=True)
class PluginData(DataConfig):
    """A source with the required fields alone."""

    name: Literal["plugin"] = "plugin"
    image_size: int = 8


def build(data: dict[str, object], **sections: object) -> RunConfig:
    return build_run_config({"data": data, "method": {"name": "clip"}, **sections})


def test_optional_members_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATA, "plugin", PluginData)
    config = build({"name": "plugin"}, train={"batch_size": 2})
    assert config.data == PluginData()
    assert not config.data.labelled
    assert hash(config.data) == hash(PluginData())


def test_which_sources_have_labels() -> None:
    assert MixData().labelled
    assert CsvData(label_column="kind").labelled
    assert not CsvData().labelled
    assert not any(DATA[name]().labelled for name in ("openmoji", "scenes"))


@pytest.mark.parametrize("sources", [[], ["digits", "digits"]])
def test_label_sources_are_named_once(sources: list[str]) -> None:
    with pytest.raises(UserError, match=r"data\.label_sources must name"):
        build({"name": "mix", "label_sources": sources})


@pytest.mark.parametrize(("fraction", "kind"), [(0.01, "no labelled image"), (0.99, "no pair")])
def test_a_batch_of_mixed_data_has_both_kinds(fraction: float, kind: str) -> None:
    with pytest.raises(UserError, match=kind):
        build({"name": "mix", "labelled_fraction": fraction}, train={"batch_size": 16})


def test_how_a_table_is_read_is_not_hashed() -> None:
    plain = to_hashable_config(CsvData())
    assert to_hashable_config(CsvData(path="b.csv", separator="tab", max_broken=0.5)) == plain
    assert to_hashable_config(CsvData(split_column="split")) != plain
    assert to_hashable_config(CsvData(test_fraction=0)) != plain


@pytest.mark.parametrize(
    ("max_broken", "num_training", "allowed"),
    [(0.01, 20, 1), (0.01, 1000, 10), (0, 1000, 0), (1, 7, 7)],
)
def test_how_many_rows_may_be_skipped(max_broken: float, num_training: int, allowed: int) -> None:
    assert CsvData(max_broken=max_broken).count_allowed_broken(num_training) == allowed
