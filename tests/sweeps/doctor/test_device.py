"""torch and the device are checked in a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.doctor import device
from sweeps.doctor.diagnostic import Diagnostic


def levels(diagnostics: list[Diagnostic]) -> dict[str, str]:
    return {d.check: d.level for d in diagnostics}


def test_torch_and_the_device_are_checked_in_another_process() -> None:
    torch, absent = device.check_device("nonsense:7")
    assert (torch.level, "timm" in torch.message) == ("ok", True)
    assert (absent.level, "runtime.device=cpu" in absent.fix) == ("problem", True)


REPORT = device.DeviceReport(
    versions=dict.fromkeys(device.REQUIRED_MODULES, "1"), num_gpus=2, error=None
)


def test_too_few_gpus_are_reported() -> None:
    assert set(levels(device.build_diagnostics(REPORT, "cuda", 2)).values()) == {"ok"}
    too_few = device.build_diagnostics(REPORT, "cuda", 3)[1]
    assert (too_few.level, too_few.fix) == ("problem", "launcher.max_workers=2, or more GPUs")
    pairs = device.build_diagnostics(REPORT, "cuda", 4, gpus_per_run=2)[1]
    assert (pairs.level, pairs.fix) == ("problem", "launcher.max_workers=1, or more GPUs")
    large = device.build_diagnostics(REPORT, "cuda", 8, gpus_per_run=8)[1]
    assert (large.level, large.fix) == ("problem", "launcher.tasks_per_node=2, or more GPUs")


def test_broken_library_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise ImportError('libjpeg.so.8: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (diagnostic,) = device.check_device("cpu")
    assert (diagnostic.level, "libjpeg" in diagnostic.message) == ("problem", True)


def test_imports_that_hang_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(device, "IMPORT_TIMEOUT_SECONDS", 1)
    (diagnostic,) = device.check_device("cpu")
    assert (diagnostic.level, diagnostic.message) == ("problem", "its imports did not end in 1 s")
