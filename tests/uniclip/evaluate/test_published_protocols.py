from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from uniclip.errors import UserError
from uniclip.evaluate import prompts, protocols

FLOWERS = ("1", "2", "3")


def judge(name="clip2021", dataset="flowers102", classes=FLOWERS):
    return protocols.published(name).judgement(dataset, classes)


def test_the_metrics_of_the_literature():
    clip = protocols.published("clip2021")
    by_metric = {}
    for dataset in (*prompts.datasets(), "flickr30k", "coco"):
        by_metric.setdefault(clip.metric(dataset), set()).add(dataset)
    assert by_metric["mean_per_class"] == {
        "fgvc_aircraft", "oxford_pets", "caltech101", "flowers102",
    }  # fmt: skip
    assert by_metric["map11"] == {"voc2007"}
    assert by_metric["recall"] == {"flickr30k", "coco"}
    assert protocols.published("laion_cb").metric("flowers102") == "accuracy"


def test_imagenet_has_each_protocols_ensemble():
    sizes = {n: len(p.templates("imagenet")) for n, p in protocols.PROTOCOLS.items()}
    assert sizes == {"clip2021": 80, "slip2021": 7, "laion_cb": 80}


def test_a_judgement_is_json_and_its_hash_follows_every_part(monkeypatch):
    base = judge()
    assert json.loads(json.dumps(base.stated())) == base.stated()
    assert len(base.hash()) == 8
    assert base.hash() == judge().hash()
    others = [
        judge("slip2021"),
        judge("laion_cb"),
        judge(classes=FLOWERS[::-1]),
        judge(classes=FLOWERS[:2]),
        judge(dataset="mnist"),
        replace(base, metric="accuracy"),
        replace(base, templates=("a {}",)),
        replace(base, transform=protocols.Transform("bilinear")),
        replace(base, probing=protocols.Probing("embedding")),
        replace(base, probing=protocols.Probing(tolerance=1e-5)),
        replace(base, version=base.version + 1),
        replace(base, part="all"),
    ]
    hashes = [j.hash() for j in (base, *others)]
    assert len(set(hashes)) == len(hashes)


def test_difficult_objects_are_named_where_there_are_any():
    assert judge(dataset="voc2007", classes=("cat",)).difficult == "excluded"
    assert judge("laion_cb", "voc2007", ("cat",)).difficult == "present"
    assert judge().difficult is None


def test_the_grid_of_strengths():
    grid = protocols.Probing().strengths()
    assert len(grid) == 97
    assert grid[0] == pytest.approx(1e-6)
    assert grid[-1] == pytest.approx(1e6)
    assert grid[8] / grid[0] == pytest.approx(10)


def test_retrieval_has_no_probe_and_each_protocols_caption():
    """Radford et al. (2021), Table 13, put "a photo of" before each caption."""
    stated = judge(dataset="coco", classes=())
    assert (stated.templates, stated.probing, stated.metric) == (("a photo of {}",), None, "recall")
    assert judge("laion_cb", "coco", ()).templates == ("{}",)


def test_unknown_protocol():
    with pytest.raises(UserError, match="did you mean clip2021"):
        protocols.published("clip2020")


def test_stating_a_protocol_imports_neither_numpy_nor_torch():
    code = (
        "import sys\n"
        "from uniclip.evaluate import protocols\n"
        "for protocol in protocols.PROTOCOLS.values():\n"
        "    protocol.judgement('imagenet', ['n01440764']).hash()\n"
        "assert not {'torch', 'numpy', 'scipy', 'transformers', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
