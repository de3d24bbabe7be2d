"""Fetching a data set with torchvision's own downloader, which shows its progress."""

from __future__ import annotations

from pathlib import Path

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset


def download(dataset: Dataset, root: Path) -> None:
    """Put the set under `root`; what is there already is not fetched again.

    Raises `UserError` if torchvision does not offer it, or if the download fails.
    """
    if dataset.torchvision is None:
        raise UserError(
            f"{dataset.name} cannot be downloaded by a program: {dataset.download_hint}"
        )
    import torchvision.datasets

    name, calls = dataset.torchvision
    root.mkdir(parents=True, exist_ok=True)
    for arguments in calls:
        try:
            getattr(torchvision.datasets, name)(str(root), download=True, **arguments)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            message = " ".join(str(error).split())[:200]
            raise UserError(
                f"{dataset.name} could not be downloaded to {root} ({type(error).__name__}: "
                f"{message}); see that the network and the disk are there, and try again"
            ) from error
