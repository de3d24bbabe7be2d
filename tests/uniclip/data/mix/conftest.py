"""The training split of `data=mix`."""

from __future__ import annotations

import pytest

from uniclip import data
from uniclip.config import MixData


@pytest.fixture(scope="package")
def split():
    """Return the training split at 32 px."""
    return data.open_split(MixData(image_size=32), "train")
