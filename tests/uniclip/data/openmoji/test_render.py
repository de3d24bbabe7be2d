"""Rendering of OpenMoji: names, categories and the cache."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from tests.helpers.openmoji_subset import list_all_emojis, list_subset
from uniclip.data.openmoji import render
from uniclip.errors import UserError


def test_names_and_categories_of_the_whole_set():
    named = list_all_emojis()
    assert len(named) > 3900
    by_name = {n[1]: n for n in named}
    assert by_name["red heart"][2:] == (("heart",), "Smileys & Emotion")
    assert by_name["woman farmer dark skin tone"][3] == "People & Body"
    assert sum(n[3] is None for n in named) < 200


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
    render._list_emojis = list_subset
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
    monkeypatch.setattr(render, "_list_emojis", lambda: list_subset()[:2])
    with pytest.raises(UserError, match="UNICLIP_CACHE"):
        render.load_rendered(16)
