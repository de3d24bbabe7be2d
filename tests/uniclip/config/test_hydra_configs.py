"""Our configurations in the user's own Hydra program: the same values, types and docstrings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests.helpers.embedded_data import make_rows, make_table, write_hub_folder
from uniclip.config import (
    DATA,
    METHODS,
    HuggingfaceData,
    RunConfig,
    TrainConfig,
    build_run_config,
)
from uniclip.config import compose as composition
from uniclip.config.hydra_configs import build_structured_class, register_configs
from uniclip.training import trainer

MINE = """
defaults:
  - uniclip
  - override data: scenes
  - override budget: smoke
  - _self_
train: {steps: 20}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's, inside a Hydra application of hers; what it registers is removed."""
    (tmp_path / "mine.yaml").write_text(MINE)
    repository = dict(ConfigStore.instance().repo)
    register_configs()
    with initialize_config_dir(str(tmp_path), version_base=None):
        yield tmp_path
    ConfigStore.instance().repo = repository


def to_values(config: Any) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"method": "clip", "data": "scenes"},
        {"model": "vit_b32"},
        {"recipe": "published", "method": "slip"},
        {"method": "declip", "budget": "study"},
        {"model": "swin_t", "data": "scenes", "budget": "smoke"},
        {"data": "huggingface", "method": "unicl"},
    ],
)
def test_choices_compose_to_the_run_of_our_command_line(
    conf: Path, choices: dict[str, str]
) -> None:
    composed = compose("uniclip", [f"{group}={choice}" for group, choice in choices.items()])
    values = composition.compose("config", choices, [composition.CONF])
    values.pop("seeds", None)
    assert build_run_config(to_values(composed)) == build_run_config(values)


def test_every_choice_of_every_group_is_registered(conf: Path) -> None:
    repository = ConfigStore.instance().repo
    for group in ("data", "method", "model", "budget", "recipe"):
        registered = {name.removesuffix(".yaml") for name in repository[group] if "." in name}
        assert registered >= set(composition.list_choices(group, [composition.CONF]))
    assert {**DATA, **METHODS}.keys() <= {
        name.removesuffix(".yaml") for g in ("data", "method") for name in repository[g]
    }


def test_a_file_with_a_defaults_list_composes_ours(conf: Path) -> None:
    config = build_run_config(to_values(compose("mine", ["method=clip", "train.batch_size=16"])))
    assert (config.data.name, config.method.name) == ("scenes", "clip")
    assert (config.train.steps, config.train.batch_size) == (20, 16)
    assert config.benchmark == ("scenes",)


def test_a_program_trains_on_embedded_images(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are null by default take the texts that a user gives."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    path = write_hub_folder(tmp_path / "hub", {"all": make_table(make_rows(range(60)))})
    words = ["data=huggingface", f"data.path={path}", "data.where='score < 0.5'", "method=unicl"]
    words += ["data.label_column=label", "data.key_column=null", "budget=smoke"]
    words += ["data.validation_fraction=0.2", "train.steps=2", "train.batch_size=8"]
    config = build_run_config(to_values(compose("uniclip", words)))
    assert isinstance(config.data, HuggingfaceData)
    assert (config.data.label_column, config.data.key_column) == ("label", None)
    assert trainer.train_model(config).step == 2


def test_sections_are_structured(conf: Path) -> None:
    composed = compose("mine")
    for section in ("data", "method", "train", "views", "runtime"):
        assert dataclasses.is_dataclass(OmegaConf.get_type(composed[section]))
    with pytest.raises(HydraException):
        compose("mine", ["train.steps=many"])
    with pytest.raises(HydraException):
        compose("mine", ["train.stepps=3"])
    assert compose("mine", ["+mine=3"]).mine == 3, "her own keys stand beside ours"


def test_structured_classes_have_our_docstrings() -> None:
    doc = build_structured_class(TrainConfig).__doc__ or ""
    assert doc.startswith("Schedule and optimizer")
    assert "    learning_rate: Peak learning rate.\n" in doc
    assert OmegaConf.structured(build_structured_class(RunConfig)).train.steps == 200


def test_our_own_composition_is_not_changed_by_what_a_program_registers(conf: Path) -> None:
    """Nodes named as our files would be taken for their schema, with a warning for each."""
    ConfigStore.instance().store("smoke", {"train": {"steps": 7}}, group="budget")
    application = GlobalHydra.instance().hydra
    choices = {"budget": "smoke", "data": "scenes"}
    values = composition._compose_with_hydra("config", choices, [composition.CONF])
    assert values["train"]["steps"] == 240
    assert GlobalHydra.instance().hydra is application is not None
    assert "smoke.yaml" in ConfigStore.instance().repo["budget"]
