"""Shards as a data source: their fingerprint, and what a plan says without opening them."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.shards import (
    shards_config,
    write_class_folders,
    write_labelled_shards,
    write_shards,
)
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import WebdatasetData
from uniclip.data import inspection
from uniclip.data.webdataset import source
from uniclip.data.webdataset.index import open_index
from uniclip.errors import UserError
from uniclip.io import file_digests

MODEL = tiny().model


def test_the_fingerprint_is_names_and_sizes_wherever_the_shards_lie(tmp_path):
    write_shards(tmp_path / "a", 12, 3)
    first = data.fingerprint(shards_config(tmp_path / "a"))
    assert json.loads(json.dumps(first)) == first
    assert first["shards"]["number"] == 3
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert data.fingerprint(shards_config(f"{tmp_path}/b/{{00000..00002}}.tar")) == first
    with open(tmp_path / "b" / "00001.tar", "ab") as stream:
        stream.write(bytes(512))
    assert data.fingerprint(shards_config(tmp_path / "b")) != first
    (tmp_path / "a" / "00002.tar").rename(tmp_path / "a" / "00003.tar")
    assert data.fingerprint(shards_config(tmp_path / "a")) != first


def test_with_verify_the_bytes_count_and_are_read_once(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_shards(tmp_path / name / "pairs", 12, 2)
        write_labelled_shards(tmp_path / name / "labelled", 6)
        write_class_folders(tmp_path / name / "classes")
        paths = [p for p in (tmp_path / name).rglob("*") if p.is_file()]
        for path in paths:
            os.utime(path, (1, 1))

    def fingerprint(name: str, verify: bool) -> dict[str, object]:
        folder = tmp_path / name
        labelled = f"{folder}/labelled::{folder}/classes"
        return data.fingerprint(
            shards_config(folder / "pairs", labelled_path=labelled, verify=verify)
        )

    now = time.time() + 3
    monkeypatch.setattr(file_digests.time, "time", lambda: now)
    unverified, first = fingerprint("a", False), fingerprint("a", True)
    assert {k: v for k, v in first.items() if not k.endswith("content")} == unverified
    assert fingerprint("b", True) == first
    with monkeypatch.context() as patch:
        patch.setattr(file_digests, "digest_file", None)
        patch.setattr(file_digests, "_digests", {})  # as another process
        assert fingerprint("a", True) == first
    for path in ("pairs/00001.tar", "labelled/0.tar", "classes/n01/more/c.png"):
        original = (tmp_path / "b" / path).read_bytes()
        (tmp_path / "b" / path).write_bytes(original[:700] + b"~" + original[701:])
        assert fingerprint("b", False) == unverified
        assert fingerprint("b", True) != first, path
        (tmp_path / "b" / path).write_bytes(original)
    assert fingerprint("b", True) == first
    sentence = source.describe_content(shards_config(tmp_path / "a/pairs", verify=True), MODEL)[0]
    assert "by the names, sizes and bytes of the shards (data.verify=true)" in sentence


def test_only_the_identity_of_several_sources_states_the_rule_of_their_ids(tmp_path):
    paths = [write_shards(tmp_path / name, 6, 1) for name in "ab"]
    config = shards_config("::".join(paths))
    single, several = (data.fingerprint(c) for c in (shards_config(paths[0]), config))
    assert set(several) - set(single) == {"ids"}
    assert several["ids"].startswith("webdataset/2: ")
    labelled = replace(config, path=paths[0], labelled_path="::".join(paths))
    entries = data.fingerprint(labelled)["labelled"]
    assert ["ids" in entry for entry in entries] == [False, True]
    assert set(single) == {"source", "split", "shards", "image_size", "image_rule", "views"}


def test_the_identity_has_the_ratio_of_weights_and_no_window_without_an_effect():
    weights = [WebdatasetData(weights=w).weights for w in ((3, 1), (6, 2), (0.3, 0.1), (2, 3), ())]
    assert weights == [(3, 1), (3, 1), (3, 1), (2, 3), ()]
    assert WebdatasetData(order="windowed", window_shards=4).window_shards == 4
    with pytest.raises(UserError, match="window_shards=4 does nothing with data.order=full"):
        WebdatasetData(window_shards=4)


def test_no_file_is_opened_for_a_plan(shards, monkeypatch):
    monkeypatch.setattr(os, "open", None)
    config = shards_config(shards)
    data.fingerprint(config)
    assert data.describe_missing(config) is None
    sentences = source.describe_content(config, MODEL)
    assert sentences[0].startswith("4 shards, ")
    assert "identified by the names and sizes of the shards, not by what they hold" in sentences[0]
    assert "not indexed yet" in sentences[1]
    assert source.count_training_samples(config, 10) is None


def test_with_an_index_a_plan_counts_samples_and_checks_the_batch_size(shards):
    config = shards_config(shards)
    open_index(config)
    assert any(s.startswith("120 samples: ") for s in source.describe_content(config, MODEL))
    (share,) = source.count_training_samples(config, 10)
    assert share.stop == len(data.open_split(config, "train"))
    section = {"name": "webdataset", "path": shards, "image_size": 16}
    with pytest.raises(UserError, match=r"train.batch_size=4096 takes 4096 of the \d+ training"):
        inspection.check_batch_sizes([tiny(data=section, train={"batch_size": 4096})])


def test_what_is_missing_is_said(tmp_path):
    assert "data.path=<" in data.describe_missing(WebdatasetData())
    missing = shards_config(f"{tmp_path}/{{00..03}}.tar")
    assert f"{tmp_path}/00.tar" in data.describe_missing(missing)
    with pytest.raises(UserError, match="data=webdataset is missing: data.path names"):
        data.open_split(missing, "train")


def test_shards_that_change_while_training_are_noticed(tmp_path):
    path = write_shards(tmp_path, 40, 2)
    split = data.open_split(shards_config(path), "train")
    os.utime(Path(tmp_path, "00000.tar"), ns=(7, 7))
    with pytest.raises(UserError, match="has changed since it was indexed"):
        split.load_image(0)
