from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.benchmarks import published as benchmark
from uniclip.evaluate.protocols import protocol, published

FLOWERS = ("1", "2", "3")


def judge(name="clip2021", dataset="flowers102", classes=FLOWERS):
    return published.get_published_protocol(name).for_dataset(dataset, classes)


def test_the_metrics_of_the_literature():
    clip = published.get_published_protocol("clip2021")
    by_metric = {}
    for dataset in (*prompts.list_datasets(), "flickr30k", "coco"):
        by_metric.setdefault(clip.get_metric(dataset), set()).add(dataset)
    assert by_metric["mean_per_class"] == {
        "fgvc_aircraft", "oxford_pets", "caltech101", "flowers102",
    }  # fmt: skip
    assert by_metric["map11"] == {"voc2007"}
    assert by_metric["recall"] == {"flickr30k", "coco"}
    assert published.get_published_protocol("laion_cb").get_metric("flowers102") == "accuracy"


def test_imagenet_has_each_protocols_ensemble():
    sizes = {n: len(p.get_templates("imagenet")) for n, p in published.PROTOCOLS.items()}
    assert sizes == {"clip2021": 80, "slip2021": 7, "laion_cb": 80}


def test_the_evaluation_hash_covers_every_part_of_the_protocol(monkeypatch):
    base, hashes = published.get_published_protocol("clip2021"), []
    changes = (
        *(
            {},
            {"metrics": (("voc2007", "map"),)},
            {"difficult_objects": "present"},
            {"deviations": ("x",)},
        ),
        *({"preprocessing": protocol.Preprocessing("bilinear")}, {"name": "other"}),
        *(
            {"probe_config": protocol.LinearProbeConfig("embedding")},
            {"probe_config": protocol.LinearProbeConfig(tolerance=1)},
        ),
        {"custom_templates": {"voc2007": ("a {}",)}},
        {"custom_names": {"voc2007": {"cat": ("kitten",)}}},
    )
    for change in changes:
        monkeypatch.setitem(published.PROTOCOLS, "clip2021", replace(base, **change))
        hashes.append(evaluate.evaluation_hash("voc2007", stub_models.config({"name": "scenes"})))
    monkeypatch.setattr(benchmark, "VERSION", protocol.VERSION + 1)
    hashes.append(evaluate.evaluation_hash("voc2007", stub_models.config({"name": "scenes"})))
    assert len(set(hashes)) == len(hashes) == len(changes) + 1


def test_difficult_objects_are_named_where_there_are_any():
    assert judge(dataset="voc2007", classes=("cat",)).difficult_objects == "excluded"
    assert judge("laion_cb", "voc2007", ("cat",)).difficult_objects == "present"
    assert judge().difficult_objects is None


def test_the_grid_of_penalties():
    grid = protocol.LinearProbeConfig().build_l2_grid()
    assert len(grid) == 97
    assert grid[0] == pytest.approx(1e-6)
    assert grid[-1] == pytest.approx(1e6)
    assert grid[8] / grid[0] == pytest.approx(10)


def test_the_grid_of_clip_benchmark():
    """Its linear_probe.py: np.logspace(-6, 2, num=97), seven of them first."""
    probing = published.get_published_protocol("laion_cb").probe_config
    theirs = np.logspace(-6, 2, num=97)
    assert probing.build_l2_grid() == pytest.approx(theirs.tolist(), rel=1e-12)
    assert probing.build_l2_grid()[:: probing.step] == pytest.approx(
        theirs[::16].tolist(), rel=1e-12
    )
    for name in ("clip2021", "slip2021"):
        assert published.get_published_protocol(name).probe_config == protocol.LinearProbeConfig()


def test_retrieval_has_no_probe_and_each_protocols_caption():
    """Radford et al. (2021), Table 13, put "a photo of" before each caption."""
    coco = judge(dataset="coco", classes=())
    assert (coco.templates, coco.probe_config, coco.metric) == (("a photo of {}",), None, "recall")
    assert judge("laion_cb", "coco", ()).templates == ("{}",)


def test_unknown_protocol():
    with pytest.raises(UserError, match="did you mean clip2021"):
        published.get_published_protocol("clip2020")


def test_a_protocol_imports_neither_numpy_nor_torch():
    code = (
        "import sys\n"
        "from uniclip.evaluate.protocols import published\n"
        "for protocol in published.PROTOCOLS.values():\n"
        "    protocol.for_dataset('imagenet', ['n01440764'])\n"
        "assert not {'torch', 'numpy', 'scipy', 'transformers', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
