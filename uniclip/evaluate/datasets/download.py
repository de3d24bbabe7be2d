"""Download of a data set with torchvision's downloader, which shows its progress."""

from __future__ import annotations

from pathlib import Path

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset


def download(dataset: Dataset, root: Path) -> None:
    """Download the data set to `root`; files that are there already are not fetched again.

    Raises `UserError` if torchvision does not offer it, or if the download fails.
    """
    if dataset.torchvision is None:
        raise UserError(
            f"{dataset.name} cannot be downloaded automatically: {dataset.download_hint}"
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
                f"{message}); check the network and the disk, and try again"
            ) from error
