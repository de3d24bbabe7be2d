"""A sweep that cannot run is refused before a worker starts, with the doctor's line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.doctor import checks, device, preflight
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.device import DeviceReport
from sweeps.doctor.diagnostic import Diagnostic, format_diagnostic, ok, problem, warning
from sweeps.slurm import FOLLOW_UP_VARIABLE
from tests.helpers.command_line import Driver, read_files
from tests.helpers.doctor_context import ARMS, build_context
from tests.helpers.small_disk import fill, small_disk
from uniclip.errors import RetryLater, UserError


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> DoctorContext:
    return build_context(tmp_path_factory.mktemp("preflight") / "store")


def one_check(*diagnostics: Diagnostic) -> checks.Check:
    def check(context: DoctorContext) -> Iterator[Diagnostic]:
        yield from diagnostics

    return check


def test_each_problem_is_a_line_and_a_warning_is_printed_once(context: DoctorContext) -> None:
    first, second = problem("store", "no space", "free some"), problem("x", "is absent", "get it")
    slow = warning("clock", f"is off, {id(context)}", "set it")
    lines: list[str] = []
    context = dataclasses.replace(context, print_line=lines.append)
    all_checks = [one_check(first, slow), one_check(ok("y", "good"), second)]
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            preflight.run_preflight(context, all_checks)
        assert str(caught.value).splitlines() == list(map(format_diagnostic, (first, second)))
    assert lines == [f"warning: {format_diagnostic(slow)}"]
    preflight.run_preflight(context, [one_check(slow, ok("y", "good"))])


@pytest.mark.parametrize("check_name", ["Slurm", "store"])
@pytest.mark.parametrize("is_follow_up", [True, False])
def test_a_follow_up_job_runs_again_later_if_slurm_does_not_answer(
    context: DoctorContext, monkeypatch: pytest.MonkeyPatch, check_name: str, is_follow_up: bool
) -> None:
    """Nobody would repeat its command."""
    if is_follow_up:
        monkeypatch.setenv(FOLLOW_UP_VARIABLE, "token")
    no_answer = problem(check_name, "the controller does not answer", "scontrol ping")
    with pytest.raises(UserError, match="does not answer") as caught:
        preflight.run_preflight(context, [one_check(no_answer)])
    assert isinstance(caught.value, RetryLater) == (is_follow_up and check_name == "Slurm")


def test_nothing_is_created_by_the_checks(context: DoctorContext) -> None:
    lines: list[str] = []
    preflight.run_preflight(dataclasses.replace(context, print_line=lines.append))
    assert not context.store.root.exists()
    assert lines == [], "this machine has what the sweep needs"


@pytest.mark.parametrize("name", ["cuda:99", "mps", "cud"])
def test_device_that_is_not_there_is_refused_as_the_doctor_says(
    context: DoctorContext, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What torch says of a device is that of `test_device.py`."""
    report = DeviceReport(
        versions=dict.fromkeys(device.REQUIRED_MODULES, "1"), num_gpus=0, error="no such device"
    )
    monkeypatch.setitem(device._reports, name, report)
    runtime = dataclasses.replace(context.config.runtime, device=name)
    config = dataclasses.replace(context.config, runtime=runtime)
    lines: list[str] = []
    context = dataclasses.replace(context, config=config, print_line=lines.append)
    with pytest.raises(UserError) as caught:
        preflight.run_preflight(context)
    (_, diagnostic) = checks.check_devices(context)
    assert str(caught.value) == format_diagnostic(diagnostic)
    assert str(caught.value).startswith(f"runtime.device={name}: not available: ")
    assert lines == [f"checking runtime.device={name} ..."]


def test_there_is_one_worker_for_each_gpu_unless_the_user_asks_for_more(tmp_path: Path) -> None:
    def count(*words: str) -> int:
        return build_context(tmp_path, *words).num_required_gpus

    assert count("runtime.device=cuda") == 1
    assert count("runtime.device=cuda", "launcher.max_workers=4") == 4
    assert count("runtime.device=cuda:1", "launcher.max_workers=4") == 1
    assert count("runtime.device=cuda", "launcher.tasks_per_node=8") == 8
    assert count("runtime.device=cuda", "launcher.max_workers=4", "launcher.tasks_per_node=2") == 8


def test_processes_of_a_run_cannot_share_one_gpu(tmp_path: Path) -> None:
    context = build_context(tmp_path, "runtime.device=cuda:1", "launcher.tasks_per_node=2")
    (diagnostic,) = checks.check_devices(context)
    assert diagnostic.level == "problem"
    assert "a process needs a GPU of its own" in diagnostic.message


@pytest.mark.parametrize("place", ["file/store", "store"])
def test_store_that_cannot_be_written_is_refused_as_the_doctor_says(
    context: DoctorContext, tmp_path: Path, place: str
) -> None:
    (tmp_path / place.partition("/")[0]).write_text("mine")
    context = build_context(tmp_path / place)
    with pytest.raises(UserError) as caught:
        preflight.run_preflight(context)
    (diagnostic,) = checks.check_store_folder(context)
    assert str(caught.value) == format_diagnostic(diagnostic)
    assert read_files(tmp_path).popitem()[1] == b"mine"


def test_full_disk_is_refused_before_a_worker_starts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        context = build_context(disk / "store")
        preflight.run_preflight(context)
        fill(disk)
        with pytest.raises(UserError, match=r"less than any run|\(No space left"):
            preflight.run_preflight(context)


def test_command_ends_before_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is broken that only the launcher imports; nothing is written."""
    (tmp_path / "submitit.py").write_text("raise ImportError('libslurm.so.41: no such file')")
    driver = Driver(tmp_path / "store", *ARMS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = driver.run(status=2).splitlines()[-1]
    assert line.startswith(f"sweep.py: libraries: {tmp_path}/submitit.py cannot be imported (Impor")
    assert not driver.folder.exists()
