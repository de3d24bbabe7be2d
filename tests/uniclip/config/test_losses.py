"""The registry of multi-positive losses: one entry defines a loss everywhere."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from tests.helpers import ROOT
from uniclip.config import UniclipMethod, ViewsConfig
from uniclip.config.binding import bind, get_field_types
from uniclip.config.losses import MULTI_POSITIVE_LOSSES, LossSwitches
from uniclip.errors import UserError


def test_the_allowed_values_of_method_loss_are_the_members():
    assert get_args(get_field_types(UniclipMethod)["loss"]) == tuple(MULTI_POSITIVE_LOSSES)
    with pytest.raises(UserError, match=r"method\.loss 'mp_nc'.*mp_nce"):
        bind(UniclipMethod, {"loss": "mp_nc"}, "method.")


@pytest.mark.parametrize("name", MULTI_POSITIVE_LOSSES)
def test_negatives_can_be_set_unless_the_member_fixes_them(name):
    values = {"loss": name, "negatives": "domain"}
    if MULTI_POSITIVE_LOSSES[name].negatives is None:
        assert bind(UniclipMethod, values, "method.").negatives == "domain"
    else:
        with pytest.raises(UserError, match=r"method\.negatives=domain needs loss="):
            bind(UniclipMethod, values, "method.")


def test_a_new_member_needs_one_entry(monkeypatch):
    monkeypatch.setitem(MULTI_POSITIVE_LOSSES, "by_slot", LossSwitches(negatives="slot"))
    views = ViewsConfig(num_weak=1, num_strong=2)
    counts = [
        UniclipMethod(loss=loss).count_pairs(views, 32)
        for loss in ("by_slot", "multi_view_info_nce", "mp_nce")
    ]
    assert counts[0] == counts[1] != counts[2]


def test_the_registry_does_not_import_torch():
    code = "import sys, uniclip.config.losses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
