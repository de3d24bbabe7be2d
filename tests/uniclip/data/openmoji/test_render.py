"""Rendering of OpenMoji: names, categories and the cache."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from tests.helpers.openmoji_subset import list_all_emojis, list_subset
from uniclip.data.openmoji import render
from uniclip.errors import UserError


def test_names_and_categories_of_the_complete_set():
    emojis_found = list_all_emojis()
    assert len(emojis_found) > 3900
    by_name = {n[1]: n for n in emojis_found}
    assert by_name["red heart"][2:] == (("heart",), "Smileys & Emotion")
    assert by_name["woman farmer dark skin tone"][3] == "People & Body"
    assert sum(n[3] is None for n in emojis_found) < 200


@pytest.mark.parametrize("damage", ["cut", "flip a byte", "no index", "torn index"])
def test_a_damaged_cache_is_rebuilt(cache, damage):
    images_path, emojis = render.load_rendered(16)
    original_bytes, index_path = images_path.read_bytes(), images_path.with_suffix(".json")
    if damage == "cut":
        images_path.write_bytes(original_bytes[:-100])
    elif damage == "flip a byte":
        images_path.write_bytes(original_bytes[:-1] + bytes([original_bytes[-1] ^ 1]))
    elif damage == "no index":
        index_path.unlink()
    else:
        index_path.write_text(index_path.read_text()[:-5])
    assert render.load_rendered(16) == (images_path, emojis)
    assert images_path.read_bytes() == original_bytes
    json.loads(index_path.read_text())


def _load(folder, queue):
    import os

    os.environ["UNICLIP_CACHE"] = folder
    render._list_emojis = list_subset
    queue.put(render.load_rendered(16)[1])


def test_two_processes_build_the_same_cache(tmp_path):
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


def test_an_unwritable_cache_folder_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(render, "_list_emojis", lambda: list_subset()[:2])
    with pytest.raises(UserError, match="UNICLIP_CACHE"):
        render.load_rendered(16)
