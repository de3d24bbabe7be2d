"""Data sets with embedded images as a data source: their fingerprint, and what a plan says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.embedded_data import embedded_config
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data import inspection
from uniclip.data.huggingface import index_writer, source
from uniclip.data.huggingface.index import open_index
from uniclip.errors import DataChangedError, UserError

MODEL = tiny().model


def test_the_fingerprint_is_names_and_sizes_wherever_the_files_lie(saved, tmp_path):
    first = data.fingerprint(embedded_config(saved))
    assert json.loads(json.dumps(first)) == first
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    os.utime(copy / "data-00000-of-00002.arrow", ns=(1, 1))
    assert data.fingerprint(embedded_config(copy)) == first
    with open(copy / "data-00001-of-00002.arrow", "ab") as stream:
        stream.write(bytes(8))
    assert data.fingerprint(embedded_config(copy)) != first


def test_with_verify_the_bytes_count(saved, tmp_path):
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    path = copy / "data-00000-of-00002.arrow"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"one 5", b"one 6"))
    for verify in (False, True):
        one, two = (data.fingerprint(embedded_config(p, verify=verify)) for p in (saved, copy))
        assert (one == two) == (not verify)


def test_a_plan_reads_no_row(saved, monkeypatch):
    monkeypatch.setattr(index_writer, "iterate_groups", None)
    config = embedded_config(saved)
    assert data.describe_missing(config) is None
    sentences = source.describe_content(config, MODEL)
    assert "identified by their names and sizes, not by what they hold" in sentences[0]
    assert sentences[1] == "images of column 'image', captions of 'caption'"
    assert "not indexed yet" in sentences[2]
    assert source.count_training_samples(config, 10) is None


def test_with_an_index_a_plan_checks_the_batch_size(saved):
    config = embedded_config(saved)
    num_training = open_index(config).content.splits["train"].num_samples
    (share,) = source.count_training_samples(config, 10)
    assert (share.start, share.stop) == (0, num_training)
    run = tiny(data={"name": "huggingface", "path": saved, "image_size": 16})
    open_index(run.data)
    with pytest.raises(UserError, match="data=huggingface at once"):
        inspection.check_batch_sizes([_with_batch(run, 1000)])


def _with_batch(run, size):
    return tiny(
        data={"name": "huggingface", "path": run.data.path, "image_size": 16},
        train={"batch_size": size},
    )


def test_what_is_missing_is_said(tmp_path):
    assert "with data.path=<folder>" in data.describe_missing(embedded_config(""))
    assert "there is no folder" in data.describe_missing(embedded_config(tmp_path / "gone"))


def test_files_that_changed_since_the_plan_are_refused(saved):
    config = embedded_config(saved)
    planned = data.fingerprint(config)
    with open(Path(saved) / "data-00001-of-00002.arrow", "ab") as stream:
        stream.write(bytes(8))
    with data.require_fingerprint(config, planned):
        with pytest.raises(DataChangedError, match=r"has changed since the plan \(files\)"):
            data.open_split(config, "train")
