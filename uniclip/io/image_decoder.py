"""Which libraries decode the user's images, with their versions."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def describe_image_decoder() -> str:
    """Return the names and versions of the libraries that decode images.

    Pillow and its libjpeg, and torchvision, which decodes plain JPEGs once a process has found that
    it gives the pixels of Pillow (`uniclip.io.plain_jpeg`). It is not imported here.
    """
    import PIL
    from PIL import features

    parts = [f"Pillow {PIL.__version__}"]
    turbo_version = features.version("libjpeg_turbo")
    if turbo_version is not None:
        parts.append(f"libjpeg-turbo {turbo_version}")
    elif (version := features.version("jpg")) is not None:
        parts.append(f"libjpeg {version}")
    try:
        parts.append(f"torchvision {metadata.version('torchvision')}")
    except metadata.PackageNotFoundError:  # Pillow decodes all images
        pass
    return ", ".join(parts)
