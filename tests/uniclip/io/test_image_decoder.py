"""The libraries that decode images are named with their versions, without loading torchvision."""

from __future__ import annotations

import subprocess
import sys

import PIL
import torchvision

from tests.helpers import ROOT
from uniclip.io.image_decoder import describe_image_decoder


def test_the_versions_are_those_of_the_libraries():
    description = describe_image_decoder()
    assert description.startswith(f"Pillow {PIL.__version__}, libjpeg")
    assert description.endswith(f", torchvision {torchvision.__version__.partition('+')[0]}")


def test_torchvision_is_not_imported():
    """It takes a second."""
    code = (
        "import sys; from uniclip.io.image_decoder import describe_image_decoder; "
        "describe_image_decoder(); assert not {'torch', 'torchvision'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
