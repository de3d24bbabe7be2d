"""What auto comes to on a machine, from files and variables alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.small_runs import tiny
from uniclip import distributed, identity, numerics
from uniclip.config import device
from uniclip.config.cores import count_requested_cores, derive_num_workers


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes device files, and torch a build with CUDA or without."""

    def build(*names: str, has_cuda_build: bool = True, visible: str | None = None) -> None:
        for name in names:
            (tmp_path / name).write_bytes(b"")
        monkeypatch.setattr(device, "DEVICE_FOLDER", tmp_path)
        monkeypatch.setattr(device, "_has_cuda_build", lambda: has_cuda_build)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return build


@pytest.mark.parametrize(
    ("names", "options", "num_gpus", "expected"),
    [
        ((), {}, 0, "cpu"),
        (("nvidiactl", "nvidia-uvm", "sda"), {}, 0, "cpu"),
        (("nvidia0", "nvidia1", "nvidiactl"), {}, 2, "cuda"),
        (("nvidia0",), {"has_cuda_build": False}, 1, "cpu"),
        (("nvidia0", "nvidia1"), {"visible": "1"}, 1, "cuda"),
        (("nvidia0",), {"visible": ""}, 0, "cpu"),
        (("nvidia0", "nvidia1"), {"visible": "0,-1,1"}, 1, "cuda"),
        (("nvidia0",), {"visible": "GPU-8932f937"}, 1, "cuda"),
    ],
)
def test_a_gpu_is_a_device_file_that_is_not_hidden(machine, names, options, num_gpus, expected):
    machine(*names, **options)
    assert device.count_visible_gpus() == num_gpus
    assert device.detect_device() == expected


def test_the_build_of_torch_is_found_without_importing_it():
    """And on this machine the files say what torch says."""
    program = (
        "import sys; from uniclip.config import device; found = device.detect_device();"
        "assert 'torch' not in sys.modules; print(found)"
    )
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert output.strip() == distributed.choose_device("auto")


def test_a_device_that_is_named_is_kept():
    assert distributed.choose_device("cpu") == "cpu"
    assert distributed.choose_device("cuda:1") == "cuda:1"


def test_the_numerics_class_says_what_auto_came_to(monkeypatch):
    automatic = tiny(runtime={"device": "auto"})
    monkeypatch.setattr(distributed.torch.cuda, "is_available", lambda: False)
    assert numerics.get_numerics_class(automatic)["device"] == "cpu"
    assert tiny().runtime.device == "auto", "the default"
    assert numerics.get_numerics_class(automatic) == numerics.get_numerics_class(
        tiny(runtime={"device": "cpu"})
    )


def test_run_ids_do_not_depend_on_the_device():
    specs = [
        identity.to_hashable_config(tiny(runtime={"device": name})) for name in ("auto", "cuda")
    ]
    assert specs[0] == specs[1] == identity.to_hashable_config(tiny())


def test_cores_follow_what_auto_comes_to(machine, monkeypatch):
    machine()
    assert derive_num_workers(tiny()) == 0
    assert count_requested_cores(1, None, "auto") == 1
    machine("nvidia0")
    monkeypatch.setenv("UNICLIP_CORES", "1")
    assert derive_num_workers(tiny()) == 0
    assert count_requested_cores(1, None, "auto") == count_requested_cores(1, None, "cuda") > 1
