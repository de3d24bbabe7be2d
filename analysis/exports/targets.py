"""The targets of an export: which module writes them, and which library it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from analysis.exports.source import Changes, SweepSource
from uniclip.errors import UserError, make_unknown_name_error


@dataclass(frozen=True, kw_only=True)
class Target:
    """Another tool to which a sweep can be exported."""

    module: str
    """Module of `analysis.exports`; it is imported when the target is chosen."""
    function: str = "export"
    library: str | None = None
    """The package that it needs and that is not always installed."""
    requirement: str = "uniclip-ablations[export]"
    """What pip installs to have the library."""
    description: str
    hint: str
    """How the result is opened; {folder} and {sweep} are replaced."""
    takes_url: bool = False
    """Whether --to may be the URL of a server."""


TARGETS = {
    "csv": Target(
        module="data_files",
        function="export_csv",
        description="tables runs, configs, scores and curves as CSV",
        hint="",
    ),
    "parquet": Target(
        module="data_files",
        function="export_parquet",
        description="the same tables as Parquet",
        hint="",
    ),
    "tensorboard": Target(
        module="tensorboard",
        library="tensorboard",
        description="event files, and settings as hyper-parameters",
        hint="tensorboard --logdir {folder}",
    ),
    "mlflow": Target(
        module="mlflow",
        library="mlflow",
        description="an experiment, in a database or on the server of --to=<URL>",
        hint="mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db",
        takes_url=True,
    ),
    "wandb": Target(
        module="wandb",
        library="wandb",
        description="offline folders, for wandb sync",
        hint="wandb sync {folder}/offline-run-*",
    ),
    "trackio": Target(
        module="trackio",
        library="trackio",
        requirement="uniclip-ablations[trackio]",
        description="a project in a folder of trackio",
        hint="TRACKIO_DIR={folder} trackio show --project {sweep}",
    ),
    "huggingface": Target(
        module="huggingface",
        description="a model folder with its card for every trained cell",
        hint="hf upload <user>/<name> {folder}/<arm>-<seed>",
    ),
}
"""Name of a target -> the target."""


def get_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TARGETS:
        raise make_unknown_name_error("target", name, TARGETS)
    return TARGETS[name]


def load_exporter(name: str) -> Callable[[SweepSource, object], Changes]:
    """Return the function that exports a sweep to a target.

    Raises:
        UserError: its library is not installed.
    """
    target = get_target(name)
    if target.library is not None and find_spec(target.library) is None:
        raise UserError(
            f"export {name} needs the package {target.library}: pip install '{target.requirement}'"
        )
    module = importlib.import_module(f"analysis.exports.{target.module}")
    exporter: Callable[[SweepSource, object], Changes] = getattr(module, target.function)
    return exporter
