"""What splits of image files have in common: images that cannot be read are named and counted.

The subclasses are tested in `csv/test_split.py` and `webdataset/test_split.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from uniclip.data.image_files import MAX_LISTED, ImageFileSplit
from uniclip.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EveryThirdBroken(ImageFileSplit):
    """Images of which every third cannot be read."""

    def name_image(self, i: int) -> str:
        return f"image {i}"

    def get_image_file(self, i: int) -> BytesIO:
        stream = BytesIO()
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(stream, "PNG")
        return BytesIO(b"broken" if i % 3 == 0 else stream.getvalue())


def make_split(**changes) -> EveryThirdBroken:
    values = {"ids": np.arange(90, dtype=np.uint64), "captions": (("x",),) * 90, "image_size": 4}
    return EveryThirdBroken(**{**values, **changes})


def test_images_that_cannot_be_read_are_marked():
    split, index = make_split(), np.array([1, 3, 5])
    pixels, is_readable = split.load_readable_pixels(index)
    assert is_readable.tolist() == [True, False, True]
    assert pixels[:, 0, 0, 0].tolist() == [1, 0, 5]
    photographs, is_readable = split.load_view_sources(index)
    assert is_readable.tolist() == [True, False, True]
    assert photographs[2].pixels[0, 0, 0] == 5
    with pytest.raises(UserError, match=r"^image 3 cannot be read \(.+\); repair it or remove"):
        split.load_pixels(index)


def test_more_than_allowed_are_an_error_that_lists_some():
    split = make_split(num_allowed=4, num_skipped=2, max_broken=0.05)
    split.check_unreadable([0, 3])
    split.check_unreadable([])
    broken = list(range(0, 90, 3))
    with pytest.raises(UserError) as caught:
        split.check_unreadable(broken)
    message = str(caught.value)
    assert message.startswith("32 of 92 training images cannot be used, more than data.max_broken=")
    assert message.count("cannot be read (") == MAX_LISTED
    assert "and 10 more" in message
