"""Settings of the image head: equal settings are one run, and those without effect are refused."""

from __future__ import annotations

from typing import get_args

import pytest

from uniclip.config import UniclipMethod
from uniclip.config.heads import MODULATION_INIT_GAINS, Fusion
from uniclip.errors import UserError
from uniclip.identity import to_hashable_config


@pytest.mark.parametrize("fusion", MODULATION_INIT_GAINS)
def test_the_default_gain_is_one_run_however_it_is_written(fusion: Fusion) -> None:
    default = UniclipMethod(fusion=fusion)
    written = UniclipMethod(fusion=fusion, modulation_init_gain=MODULATION_INIT_GAINS[fusion])
    other = UniclipMethod(fusion=fusion, modulation_init_gain=0.5)
    assert to_hashable_config(written) == to_hashable_config(default)
    assert to_hashable_config(other) != to_hashable_config(default)
    assert "modulation_init_gain" not in to_hashable_config(default)


def test_only_concatenation_has_no_modulation() -> None:
    assert set(get_args(Fusion)) - set(MODULATION_INIT_GAINS) == {"concat"}


@pytest.mark.parametrize(
    ("fusion", "values", "match"),
    [
        ("concat", {"modulation_init_gain": 1.0}, "fusion=concat has no modulation: leave out"),
        ("concat", {"modulation_lr_mult": 3.0}, "fusion=concat has no modulation: leave out"),
        ("cosine", {"modulation_init_gain": 0.0}, "use a small gain such as 0.1"),
    ],
)
def test_settings_without_effect_are_refused(
    fusion: Fusion, values: dict[str, float], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        UniclipMethod(fusion=fusion, **values)  # type: ignore[arg-type]
