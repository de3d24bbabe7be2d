"""OpenMoji: cache, splits, captions, labels."""

from __future__ import annotations

import json
import multiprocessing

import numpy as np
import pytest

from uniclip import data
from uniclip.config import OpenmojiData
from uniclip.data.openmoji import render, source, split
from uniclip.data.openmoji.render import Emoji
from uniclip.errors import UserError

NAMED = render._list_emojis


def few():
    """Every 60th emoji, and two flags that look the same."""
    named = NAMED()
    twins = [n for n in named if n[1] in ("Norway", "Svalbard & Jan Mayen")]
    return sorted({n[0]: n for n in (*named[::60], *twins)}.values())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    monkeypatch.setattr(render, "_list_emojis", few)
    return tmp_path


def make(code, name="x", aliases=(), category=None, pixels=None):
    return Emoji(code, name, tuple(aliases), category, pixels or code)


def test_names_and_categories_of_the_whole_set():
    named = NAMED()
    assert len(named) > 3900
    by_name = {n[1]: n for n in named}
    assert by_name["red heart"][2:] == (("heart",), "Smileys & Emotion")
    assert by_name["woman farmer dark skin tone"][3] == "People & Body"
    assert sum(n[3] is None for n in named) < 200


def test_render_cache_and_splits(cache, capsys):
    config = OpenmojiData(image_size=16)
    splits = {part: data.open_split(config, part) for part in data.SPLIT_NAMES}
    assert capsys.readouterr().err.count("rendering") == 1
    assert sum(map(len, splits.values())) == len(few())
    ids = np.concatenate([s.ids for s in splits.values()])
    assert len(set(ids.tolist())) == len(ids)
    train = splits["train"]
    pixels = train.load_pixels(np.array([2, 0]))
    assert (pixels.shape, pixels.dtype) == ((2, 3, 16, 16), np.uint8)
    assert np.array_equal(pixels[1], train.load_pixels(np.array([0]))[0])
    assert (pixels[:, :, 0, 0] == 255).all()  # white ground
    side = {name: part for part, s in splits.items() for name in s.sample_names}
    assert side["Norway"] == side["Svalbard & Jan Mayen"]
    assert all(len(c) == 1 for c in splits["test"].captions)


@pytest.mark.parametrize("damage", ["cut", "flip a byte", "no index", "torn index"])
def test_damaged_cache_is_built_again(cache, damage):
    pictures, emojis = render.load_rendered(16)
    whole, index = pictures.read_bytes(), pictures.with_suffix(".json")
    if damage == "cut":
        pictures.write_bytes(whole[:-100])
    elif damage == "flip a byte":
        pictures.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text(index.read_text()[:-5])
    assert render.load_rendered(16) == (pictures, emojis)
    assert pictures.read_bytes() == whole
    json.loads(index.read_text())


def _load(folder, queue):
    import os

    os.environ["UNICLIP_CACHE"] = folder
    render._list_emojis = few
    queue.put(render.load_rendered(16)[1])


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_load, args=(str(tmp_path), queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    first, second = queue.get(timeout=60), queue.get(timeout=60)
    for worker in workers:
        worker.join()
    assert first == second
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".npy"]


def test_unwritable_cache_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(render, "_list_emojis", lambda: few()[:2])
    with pytest.raises(UserError, match="UNICLIP_CACHE"):
        render.load_rendered(16)


def test_equal_pictures_stay_together():
    alone = [make(f"{i:04X}") for i in range(3000)]
    shares = [split.assign_splits(alone).count(p) / 3000 for p in data.SPLIT_NAMES]
    np.testing.assert_allclose(shares, [0.6, 0.1, 0.3], atol=0.03)
    pairs = [make(f"{i:04X}", pixels=str(i // 2)) for i in range(3000)]
    parts = split.assign_splits(pairs)
    assert parts[::2] == parts[1::2]
    assert parts[::2] == split.assign_splits(alone)[::2]


def test_labels():
    tone = split.get_skin_tone
    assert tone(make("1F44B-1F3FD")) == "medium skin tone"
    assert tone(make("1F469-1F3FB-200D-1F91D-200D-1F468-1F3FB")) == "light skin tone"
    assert tone(make("1F469-1F3FB-200D-1F91D-200D-1F468-1F3FF")) is None
    assert tone(make("2764")) is None
    gender = split.get_gender
    assert gender(make("1", "man farmer dark skin tone")) == "man"
    assert gender(make("1", "woman-running")) == "woman"
    assert gender(make("1", "woman and man holding hands")) is None
    assert gender(make("1", "Roman mandarin")) is None


def test_aliases_never_name_another_picture():
    e = make("1", "red heart", aliases=("heart", "Heart", "ab", "tiger", "red heart"))
    assert split._build_captions(e, {"red heart", "tiger"}) == ("red heart", "Heart")


def test_fingerprint_reads_nothing_and_tells_sizes_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    prints = [data.fingerprint(OpenmojiData(image_size=s)) for s in (32, 64)]
    assert prints[0] != prints[1]
    assert json.loads(json.dumps(prints[0])) == prints[0]
    assert not list(tmp_path.iterdir())


def test_missing_packages_give_the_pip_line(monkeypatch):
    assert data.describe_missing(OpenmojiData()) is None
    monkeypatch.setattr(source, "get_library_version", lambda n: "absent" if n == "emoji" else "1")
    assert data.describe_missing(OpenmojiData()) == "pip install emoji"
    with pytest.raises(UserError, match="pip install emoji"):
        data.open_split(OpenmojiData(), "train")
    with pytest.raises(UserError, match="validation"):
        data.open_split(OpenmojiData(), "validate")
