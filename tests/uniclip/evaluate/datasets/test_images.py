"""Opened splits: images that cannot be read, and pickling."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_trees
from tests.helpers.csv_data import csv_config, write_csv
from uniclip import data
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import FileReader
from uniclip.io import rgb_image


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    (tmp_path / "dtd/dtd/images/banded/banded_test0000.jpg").write_bytes(b"no picture")
    pictures = datasets.get("dtd").open(tmp_path, "test")
    with pytest.raises(UserError, match="dtd: image banded/banded_test0000 cannot be read"):
        pictures.load_image(0)
    with pytest.raises(IndexError):
        pictures.load_image(len(pictures))


@pytest.mark.parametrize("name", ["dtd", "cifar10", "flickr30k"])
def test_images_can_be_sent_to_data_workers(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    pictures = datasets.get(name).open(tmp_path, "validation")
    sent = pickle.loads(pickle.dumps(pictures))
    assert sent.ids == pictures.ids
    assert np.array_equal(np.asarray(sent.load_image(0)), np.asarray(pictures.load_image(0)))


def write_odd_images(folder: Path) -> list[str]:
    """Write a turned, a 16-bit and a transparent image, and one with a transparent palette."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(folder / "turned.png", exif=exif)
    Image.fromarray(noise[..., 0].astype(np.uint16) << 8).save(folder / "deep.png")
    Image.fromarray(noise).convert("LA").save(folder / "grey.png")
    rgba = np.concatenate([noise, noise[..., :1] & 128], axis=2)
    Image.fromarray(rgba).save(folder / "clear.png")
    palette = Image.fromarray(noise).quantize(16)
    palette.save(folder / "palette.png", transparency=3)
    palette.save(folder / "palette.gif", transparency=3)
    return sorted(path.name for path in folder.iterdir())


def test_the_users_images_are_read_alike_wherever_they_are_read(tmp_path: Path) -> None:
    names = write_odd_images(tmp_path / "test" / "a")
    folder = tmp_path / "test" / "a"
    expected = {n: np.asarray(rgb_image.read_rgb_image(folder / n)) for n in names}
    write_csv(folder, [(name, f"image {i}", "a") for i, name in enumerate(names)])
    opened = {
        "folder": datasets.get(f"folder:{tmp_path}").open("", "test"),
        "csv": datasets.get(f"csv:{folder / 'data.csv'}").open("", "test"),
    }
    for kind, dataset in opened.items():
        assert [Path(image_id).name for image_id in dataset.ids] == names
        for i, name in enumerate(names):
            assert np.array_equal(np.asarray(dataset.load_image(i)), expected[name]), (kind, name)
    for split_name in data.SPLIT_NAMES:
        split = data.open_split(csv_config(folder), split_name)
        pixels = split.load_pixels(np.arange(len(split)))
        for name, square in zip(split.sample_names, pixels):
            assert np.array_equal(
                square, rgb_image.crop_and_resize(Image.fromarray(expected[name]), 16)
            )


def test_published_data_sets_are_read_as_stored(tmp_path: Path) -> None:
    names = write_odd_images(tmp_path / "images")
    reader = FileReader(tuple(tmp_path / "images" / name for name in names))
    for i, name in enumerate(names):
        with Image.open(tmp_path / "images" / name) as image:
            assert np.array_equal(np.asarray(reader(i)), np.asarray(image.convert("RGB")))
    assert reader(names.index("turned.png")).size == (60, 40)


def test_a_broken_image_of_the_user_is_to_be_repaired_not_downloaded(tmp_path: Path) -> None:
    names = write_odd_images(tmp_path / "a")
    (tmp_path / "a" / names[0]).write_bytes(b"")
    dataset = datasets.get(f"folder:{tmp_path}").open("", "test")
    with pytest.raises(
        UserError, match=r"cannot be read \(the file is empty\); repair it or leave"
    ):
        dataset.load_image(0)
