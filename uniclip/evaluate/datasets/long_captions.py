"""The data sets of `benchmark=long`: retrieval with captions of many sentences.

A caption is embedded as it is, without a template, cut at the context length of the model; the
share of captions that were cut is a score of its own. The formats are those of the code that the
readers cite.
"""

from __future__ import annotations

from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.readers.long_captions import (
    DciReader,
    DocciReader,
    IiwReader,
    Urban1kReader,
)

DOCCI_DATA = "https://storage.googleapis.com/docci/data"
CAPTION_TEMPLATE = ("{}",)


def _build_dataset(
    name: str,
    title: str,
    files: tuple[str, ...],
    reader: SplitReader,
    size: int,
    download_hint: str,
    split_rule: str = "as published",
) -> Dataset:
    return Dataset(
        name=name,
        title=title,
        kind="retrieval",
        metric="recall",
        files={"test": files},
        reader=reader,
        expected_counts={"test": size},
        templates=CAPTION_TEMPLATE,
        has_long_captions=True,
        split_rule=split_rule,
        download_hint=download_hint,
    )


LONG_CAPTION_DATASETS = (
    _build_dataset(
        "docci",
        "DOCCI",
        ("docci/docci_descriptions.jsonlines", "docci/images"),
        DocciReader(),
        5_000,
        f"get {DOCCI_DATA}/docci_descriptions.jsonlines and docci_images.tar.gz beside it, and "
        "unpack the latter in docci/",
    ),
    _build_dataset(
        "dci",
        "DCI",
        ("densely_captioned_images/annotations", "densely_captioned_images/photos"),
        DciReader(),
        7_805,
        "get dci.tar.gz and the images by the README of https://github.com/facebookresearch/DCI, "
        "and put annotations/ and photos/ into densely_captioned_images/",
        "all images; short and extra caption",
    ),
    _build_dataset(
        "iiw",
        "IIW-400",
        ("iiw-400/data.jsonl", "docci/images_aar"),
        IiwReader(),
        400,
        "get datasets/IIW-400/data.jsonl of https://github.com/google/imageinwords into iiw-400/, "
        f"and unpack {DOCCI_DATA}/docci_images_aar.tar.gz in docci/",
    ),
    _build_dataset(
        "urban1k",
        "Urban-1k",
        ("Urban1k/caption", "Urban1k/image"),
        Urban1kReader(),
        1_000,
        "get Urban1k.zip of https://huggingface.co/datasets/BeichenZhang/Urban1k and unpack it in "
        "the data root",
    ),
)
