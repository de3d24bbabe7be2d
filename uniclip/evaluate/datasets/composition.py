"""The data sets of `benchmark=composition`: captions of the same words or shape.

Sizes are those of the papers. The formats of SugarCrepe and of ARO are those of the authors' code.
Winoground's, to which access has to be applied for, is that of its authors' loading script.
"""

from __future__ import annotations

from uniclip.evaluate.datasets.bench14 import RETRIEVAL_DATASETS
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.caption_choices import (
    SUGARCREPE_CATEGORIES,
    AroReader,
    CaptionOrderReader,
    SugarcrepeReader,
    WinogroundReader,
)

ARO_IMAGES = (
    "get {} and vgr_vga_images.zip by the links of "
    "https://github.com/mertyg/vision-language-models-are-bows, put the file into aro/ and the "
    "images into aro/images/"
)
ARO_RULE = "images are cut to the box of both objects; those of one photograph are a cluster"


def build_order_dataset(retrieval: Dataset) -> Dataset:
    """Return the data set of the captions of a retrieval set with their words in other orders."""
    return Dataset(
        name=f"{retrieval.name}_order",
        title=f"Order of words, {retrieval.title}",
        kind="composition",
        files={"test": retrieval.files["test"]},
        reader=CaptionOrderReader(retrieval.reader),
        split_rule="orders by rule: all words, within groups of three, groups of three",
        download_hint=retrieval.download_hint,
        source=retrieval,
    )


COMPOSITION_DATASETS = (
    Dataset(
        name="sugarcrepe",
        title="SugarCrepe",
        kind="composition",
        files={
            "test": (
                *(f"sugarcrepe/{category}.json" for category in SUGARCREPE_CATEGORIES),
                "coco/val2017",
            )
        },
        reader=SugarcrepeReader(),
        expected_counts={"test": 7_511},
        download_hint="get the seven files of https://github.com/RAIVNLab/sugar-crepe (data/) into "
        "sugarcrepe/, and COCO's val2017.zip into coco/val2017/",
    ),
    Dataset(
        name="winoground",
        title="Winoground",
        kind="composition",
        files={"test": ("winoground/examples.jsonl", "winoground/images")},
        reader=WinogroundReader(),
        expected_counts={"test": 800},
        download_hint="accept the terms of https://huggingface.co/datasets/facebook/winoground and "
        "put examples.jsonl and the unpacked images.zip of its data/ into winoground/",
    ),
    Dataset(
        name="aro_relation",
        title="ARO, Visual Genome Relation",
        kind="composition",
        files={"test": ("aro/visual_genome_relation.json", "aro/images")},
        reader=AroReader("visual_genome_relation.json", "relation_name"),
        expected_counts={"test": 23_937},
        split_rule=ARO_RULE,
        download_hint=ARO_IMAGES.format("visual_genome_relation.json"),
    ),
    Dataset(
        name="aro_attribution",
        title="ARO, Visual Genome Attribution",
        kind="composition",
        files={"test": ("aro/visual_genome_attribution.json", "aro/images")},
        reader=AroReader("visual_genome_attribution.json", "attributes"),
        expected_counts={"test": 28_748},
        split_rule=ARO_RULE,
        download_hint=ARO_IMAGES.format("visual_genome_attribution.json"),
    ),
    *(build_order_dataset(retrieval) for retrieval in RETRIEVAL_DATASETS),
)
