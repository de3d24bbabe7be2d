"""Which rows are one image, and which of its captions are used."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.data.csv.sample_rows import find_distinct, group_rows, take


@pytest.mark.parametrize("num_images", [1, 5, 40, 10**9])
@pytest.mark.parametrize("num_rows", [0, 1, 6, 7, 60])
def test_samples_are_those_of_a_dictionary(
    small_chunks: None, num_images: int, num_rows: int
) -> None:
    generator = np.random.default_rng(num_images + num_rows)
    hashes = np.array([hash(str(i)) for i in range(50)])
    if num_images > 50:
        file_keys = np.array([hash(i) for i in map(str, range(num_rows))], np.int64)
    else:
        file_keys = hashes[generator.integers(0, num_images, num_rows)]
    caption_keys = hashes[generator.integers(0, 4, num_rows)]
    samples: dict[int, dict[int, int]] = {}
    firsts: dict[int, int] = {}
    for row, (file, caption) in enumerate(zip(file_keys.tolist(), caption_keys.tolist())):
        firsts.setdefault(file, row)
        samples.setdefault(file, {}).setdefault(caption, row)
    numbers = {file: i for i, file in enumerate(samples)}
    rows = group_rows(file_keys, caption_keys)
    assert rows.first.tolist() == list(firsts.values())
    assert rows.sample_by_row.tolist() == [numbers[file] for file in file_keys.tolist()]
    assert rows.caption_rows.tolist() == [r for s in samples.values() for r in s.values()]
    assert {rows.first.dtype, rows.caption_rows.dtype} == {np.dtype(np.uint32)}
    has_one_each = all(len(captions) == 1 for captions in samples.values())
    assert (rows.caption_stops is None) is has_one_each
    for start in range(len(samples)):
        part = slice(start, len(samples))
        is_chosen = generator.random(len(samples) - start) < 0.5
        chosen = [list(s.values()) for s, c in zip([*samples.values()][start:], is_chosen) if c]
        caption_rows, counts = rows.choose_captions(part, is_chosen)
        assert caption_rows.tolist() == [row for captions in chosen for row in captions]
        assert counts.tolist() == list(map(len, chosen))
    first = find_distinct(caption_keys)
    assert first.tolist() == sorted(
        dict(zip(caption_keys[::-1].tolist(), range(num_rows)[::-1])).values()
    )
    assert take(caption_keys, first).tolist() == list(dict.fromkeys(caption_keys.tolist()))


def test_rows_of_one_image_are_one_sample_without_equal_captions() -> None:
    file_keys = np.array([50, 9, 50, 7, 9, 50])
    caption_keys = np.array([4, 1, 3, 1, 1, 4])
    samples = group_rows(file_keys, caption_keys)
    assert samples.first.tolist() == [0, 1, 3]
    assert samples.sample_by_row.tolist() == [0, 1, 0, 2, 1, 0]
    assert samples.caption_rows.tolist() == [0, 2, 1, 3]
    assert samples.caption_stops is not None
    assert samples.caption_stops.tolist() == [2, 3, 4]


def test_rows_of_different_images_are_samples_in_their_order() -> None:
    samples = group_rows(np.array([50, 9, 7]), np.array([4, 4, 4]))
    assert samples.first.tolist() == samples.sample_by_row.tolist() == [0, 1, 2]
    assert samples.caption_rows.tolist() == [0, 1, 2]
    assert samples.caption_stops is None
