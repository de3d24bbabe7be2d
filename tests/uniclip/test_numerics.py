"""The numerics class says what decides bits, and `apply` puts the process into it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from ablations.audit import arm_probe
from tests.helpers import ROOT
from tests.helpers.small_runs import tiny
from uniclip import numerics
from uniclip.errors import UserError
from uniclip.io.image_decoder import describe_image_decoder
from uniclip.models.embedder import Embedder
from uniclip.training.trainer import train_model


def test_class_is_json_and_names_what_decides_bits():
    named = numerics.get_numerics_class(tiny())
    assert json.loads(json.dumps(named)) == named
    assert named["device"] == "cpu"
    assert named["device_name"]
    assert named["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert named["world_size"] == 1
    assert named["torch"] == torch.__version__


@pytest.mark.parametrize(("key", "value"), [("num_threads", 2), ("precision", "bf16")])
def test_another_setting_is_another_class(key, value):
    assert numerics.get_numerics_class(tiny(train={key: value})) != numerics.get_numerics_class(
        tiny()
    )


def test_fast_numerics_are_a_class_of_their_own():
    exact, fast = (
        numerics.get_numerics_class(tiny(train={"numerics": n})) for n in ("exact", "fast")
    )
    assert exact == numerics.get_numerics_class(tiny()), "runs of before have the same class"
    assert fast == {**exact, "numerics": "fast", "compiled": False}


def test_class_does_not_depend_on_workers_or_logging():
    other = tiny(runtime={"num_workers": 3, "log_every": 1, "checkpoint_seconds": 0})
    assert numerics.get_numerics_class(other) == numerics.get_numerics_class(tiny())


@pytest.mark.parametrize("name", ["csv", "webdataset", "huggingface"])
def test_the_decoder_belongs_to_the_class_where_training_decodes_images(name):
    drawn = numerics.get_numerics_class(tiny())
    assert numerics.get_numerics_class(tiny(data={"name": "scenes"})) == drawn
    decoded = numerics.get_numerics_class(tiny(data={"name": name, "path": "x"}))
    assert decoded == {**drawn, "image_decoder": describe_image_decoder()}


@pytest.mark.parametrize("name", ["cuda:97", "nonsense", "cpu:x"])
def test_unknown_device_is_one_line(name):
    with pytest.raises(UserError, match="runtime.device") as error:
        numerics.get_device(name)
    assert "\n" not in str(error.value)


def test_apply_sets_threads_and_determinism():
    before = torch.get_num_threads()
    try:
        numerics.apply(2)
        assert torch.get_num_threads() == 2
        numerics.apply(1)
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.tensor(1e-39).item() > 0
    finally:
        torch.set_num_threads(before)


def test_apply_sets_fast_and_then_exact_numerics():
    def describe():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.allow_tf32,
        )

    numerics.apply(1, "fast")
    fast = describe()
    numerics.apply(1)
    assert fast == (False, "high", True, True)
    assert describe() == (True, "highest", False, False)


FIT = """
import hashlib, json, sys
import numpy as np
from threadpoolctl import threadpool_info
from uniclip import numerics
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression


def count_threads():
    return sorted({p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"})


offered = count_threads()
numerics.apply(1)
drawn = np.random.default_rng(0)
labels = drawn.integers(0, 9, 3000)
features = drawn.normal(size=(3000, 200)) + np.eye(9, 200)[labels]
probe = LogisticRegression(features.astype(np.float32), labels, 9).fit(1e-3)
digest = hashlib.sha256(probe.weight.tobytes()).hexdigest()
print(json.dumps([offered, count_threads(), digest]))
"""


def test_a_probe_does_not_depend_on_how_many_threads_the_machine_offers():
    """Every BLAS in the process, scipy's too, which is loaded late."""

    def fit(threads):
        places = os.pathsep.join([str(ROOT), *sys.path])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": places}
        command = [sys.executable, "-c", FIT]
        printed = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(printed.stdout)

    one, two = fit("1"), fit("2")
    assert (one[0], two[0]) == ([1], [2]), "the threads that the machine offers"
    assert one[1:] == two[1:]
    assert one[1] == [1]


def _fitted_peak():
    return train_model(tiny(train={"steps": 2})).history[-1]["peak_memory_bytes"]


def _tried_peak():
    return arm_probe.probe_arm(tiny()).peak_memory_bytes


@pytest.mark.skipif(not numerics.PROC_CLEAR_REFS.exists(), reason="only Linux lets go of a peak")
@pytest.mark.parametrize("peak", [_fitted_peak, _tried_peak])
def test_a_peak_of_memory_is_that_of_one_training(peak):
    """What stood in the same process before it, and is gone, is not in it."""
    peak()
    ballast = torch.ones(2**27)
    before = numerics.get_peak_memory_bytes(torch.device("cpu"))
    del ballast
    assert peak() < before - 2**28


class _Embedder:
    """Linear in what it is given, with unit rows."""

    name = "embedder"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(8, 12, generator=generator)

    def encode_image(self, pixels, vectors):
        rows = torch.nn.functional.linear(pixels.flatten(1).float(), self.weight)
        return functional.normalize(rows + vectors.sum(), dim=-1)

    def encode_text(self, tokens):
        return functional.normalize(tokens.float() @ self.weight.T, dim=-1)


def test_autocast_rounds_inside_and_answers_in_float32_unit_rows():
    embedder = _Embedder()
    half = numerics.Autocast(embedder, torch.device("cpu"))
    pixels = torch.arange(36).view(3, 3, 2, 2).to(torch.uint8)
    tokens = torch.arange(24).view(2, 12)
    for rows, exact in (
        (
            half.encode_image(pixels, torch.zeros(3, 1)),
            embedder.encode_image(pixels, torch.zeros(3, 1)),
        ),
        (half.encode_text(tokens), embedder.encode_text(tokens)),
    ):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)), rtol=1e-6, atol=0)
        assert not torch.equal(rows, exact)
        torch.testing.assert_close(rows, exact, rtol=0, atol=0.02)
    assert half.name == "embedder"


def test_autocast_names_methods_of_the_embedder():
    """An unknown name would silently compute in float32."""
    assert all(callable(getattr(Embedder, name)) for name in numerics.Autocast.AUTOCAST_METHODS)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc keeps memory by mallopt")
def test_memory_of_freed_tensors_is_used_again():
    """A step's tensors of some MB cost no page faults once a first step has touched the memory.

    How much glibc keeps by default depends on what was freed before; so here it is told to keep
    nothing, which `apply` has to undo.
    """
    program = (
        "import resource, torch; from uniclip import numerics\n"
        "count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def step():\n"
        "    for _ in range(20): (torch.ones(3_000_000) * 2).sum()\n"
        "def measure():\n"
        "    step(); before = count(); step(); return count() - before\n"
        "before = measure(); numerics.apply(1); print(before, measure())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC"))}
    environment |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True
    ).stdout.split()
    faults_before, faults_after = map(int, output)
    assert faults_before > 100, "also if the pages are large"
    assert faults_after < faults_before / 20
