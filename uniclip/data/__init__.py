"""Sources of images and captions: a module each, chosen by the name of the data section.

A source answers four questions (`DataSource`): what exactly the data is, whether it is present,
what its splits hold, and which views are made of its images. Planning asks the first two only; code
that needs numpy is therefore imported when a split is opened or a view is sampled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from uniclip.config.binding import to_builtins
from uniclip.data.csv import source as csv
from uniclip.data.huggingface import source as huggingface
from uniclip.data.mix import source as mix
from uniclip.data.openmoji import source as openmoji
from uniclip.data.scenes import source as scenes
from uniclip.data.split import SPLIT_NAMES, Split, SplitName
from uniclip.data.views import VIEWS_VERSION, ViewKind
from uniclip.data.webdataset import source as webdataset
from uniclip.errors import (
    CHANGED_DATA_ADVICE,
    DataChangedError,
    UserError,
    make_unknown_name_error,
)
from uniclip.io.hashing import digest

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.config import DataConfig
    from uniclip.data.source import DataSource
    from uniclip.rng import UInt64

__all__ = [
    "SOURCES",
    "SPLIT_NAMES",
    "VIEWS_VERSION",
    "Split",
    "SplitName",
    "ViewKind",
    "describe_change",
    "describe_content_change",
    "describe_missing",
    "digest_content",
    "expect_contents",
    "fingerprint",
    "identify_content",
    "open_split",
    "require_content",
    "require_fingerprint",
    "sample_view",
]

# Any: each source takes its own class of configuration.
SOURCES: dict[str, DataSource[Any]] = {
    "openmoji": openmoji,
    "scenes": scenes,
    "csv": csv,
    "mix": mix,
    "webdataset": webdataset,
    "huggingface": huggingface,
}
"""Name of a data section -> the module of its source."""


def fingerprint(config: DataConfig) -> dict[str, object]:
    """Return a description of the data as plain JSON, without reading images.

    It includes the version of the views that are made of the images.

    Args:
        config: A data section.
    """
    return {**SOURCES[config.name].fingerprint(config), "views": VIEWS_VERSION}


def describe_missing(config: DataConfig) -> str | None:
    """Return one line on how to get missing data, or None if it is present."""
    return SOURCES[config.name].describe_missing(config)


_planned_fingerprints: ContextVar[Mapping[DataConfig, dict[str, Any]]] = ContextVar(
    "planned_fingerprints", default=MappingProxyType({})
)
"""Data section -> the fingerprint that its data must have when a split is opened."""


@contextmanager
def require_fingerprint(
    config: DataConfig, planned_fingerprint: Mapping[str, Any]
) -> Iterator[None]:
    """Context in which `open_split` opens the data of a section only if they are as planned.

    Args:
        config: A data section.
        planned_fingerprint: The fingerprint of its data when the run was planned.
    """
    planned = {**_planned_fingerprints.get(), config: to_builtins(planned_fingerprint)}
    token = _planned_fingerprints.set(planned)
    try:
        yield
    finally:
        _planned_fingerprints.reset(token)


def describe_change(config: DataConfig, planned_fingerprint: Mapping[str, Any]) -> str | None:
    """Return one line if the data of a section are not as planned, else None."""
    missing = describe_missing(config)
    if missing is not None:
        return f"data={config.name} is gone: {missing}"
    try:
        return _compare_fingerprints(config, fingerprint(config), planned_fingerprint)
    except UserError as error:
        return str(error)


def identify_content(config: DataConfig, *, builds_index: bool = True) -> dict[str, str]:
    """Return digests of what the fingerprint leaves out, for the record of a run.

    Data under one key with two digests are not the same. Empty if the fingerprint says all, or the
    source keeps no such digest.

    Args:
        config: A data section.
        builds_index: Whether data that are not indexed yet are indexed; else they are left out.

    Raises:
        UserError: The data are missing or cannot be used.
    """
    identify = getattr(SOURCES[config.name], "identify_content", None)
    return {} if identify is None else dict(identify(config, builds_index))


def describe_content_change(
    config: DataConfig, content: Mapping[str, str], known: Mapping[str, Collection[str]]
) -> str | None:
    """Return one line if the content of data is none of those that are known under its keys.

    Args:
        config: A data section.
        content: Its digests, as of `identify_content`.
        known: Key -> digests of earlier runs; a key that is not there is unknown.
    """
    if all(value in known.get(key, (value,)) for key, value in content.items()):
        return None
    return (
        f"{getattr(config, 'path', '')} holds other samples than earlier runs were trained on, "
        "under the same names and sizes; put the old data back, or set data.verify=true, with "
        "which they are other data"
    )


_expected_contents: ContextVar[Mapping[str, Collection[str]]] = ContextVar(
    "expected_contents", default=MappingProxyType({})
)
"""Key -> digests of the data that other runs of the sweep were trained on."""


@contextmanager
def expect_contents(known: Mapping[str, Collection[str]]) -> Iterator[None]:
    """Context in which `require_content` compares data with the digests of other runs."""
    token = _expected_contents.set(known)
    try:
        yield
    finally:
        _expected_contents.reset(token)


def require_content(config: DataConfig, earlier: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the digests of the data; `DataChangedError` if other runs had other ones.

    earlier: Key -> digests of the data that earlier attempts of the run were trained on.
    """
    if describe_missing(config) is not None:
        return {}  # opening them says so
    content = identify_content(config)
    for known in (_expected_contents.get(), earlier):
        change = describe_content_change(config, content, known)
        if change is not None:
            raise DataChangedError(change)
    return content


def digest_content(config: DataConfig) -> str:
    """Return a digest of the data of a section: as planned where a plan is required, else as is."""
    planned = _planned_fingerprints.get().get(config)
    return digest(to_builtins(fingerprint(config)) if planned is None else planned)


def open_split(config: DataConfig, split_name: SplitName) -> Split:
    """Return one split of the data; its images are read on demand.

    Raises:
        UserError: The data is missing, or there is no such split.
        DataChangedError: The data are not those of `require_fingerprint`, or were changed while
            they were read.
    """
    if split_name not in SPLIT_NAMES:
        raise make_unknown_name_error("split", split_name, SPLIT_NAMES)
    planned = _planned_fingerprints.get().get(config)
    install_hint = describe_missing(config)
    if install_hint is not None:
        error_type = UserError if planned is None else DataChangedError
        raise error_type(f"data={config.name} is missing: {install_hint}")
    content = fingerprint(config)
    _require_equal(config, content, content if planned is None else planned)
    split = SOURCES[config.name].open_split(config, split_name)
    _require_equal(config, fingerprint(config), content)
    return split


def _require_equal(
    config: DataConfig, content: Mapping[str, Any], planned_fingerprint: Mapping[str, Any]
) -> None:
    difference = _compare_fingerprints(config, content, planned_fingerprint)
    if difference is not None:
        raise DataChangedError(difference)


def _compare_fingerprints(
    config: DataConfig, content: Mapping[str, Any], planned_fingerprint: Mapping[str, Any]
) -> str | None:
    """Return one line that names the data, if the fingerprints differ.

    A fingerprint without any entry of the source's own was not made by it: there is nothing to
    compare.
    """
    current, planned = to_builtins(content), to_builtins(planned_fingerprint)
    if not current.keys() & planned.keys():
        return None
    names = current.keys() | planned.keys()
    changed = sorted(name for name in names if current.get(name) != planned.get(name))
    if not changed:
        return None
    table_key = "test_path" if changed == ["test_index"] else "path"
    location = getattr(config, table_key, "") or f"data={config.name}"
    return f"{location} has changed since the plan ({', '.join(changed)}); {CHANGED_DATA_ADVICE}"


def sample_view(
    config: DataConfig,
    kind: ViewKind,
    key: int,
    ids: UInt64,
    identity_prob: float,
    min_crop_scale: float = 0.2,
) -> AugmentationParams:
    """Return the augmentation parameters of one view of the samples `ids` (n,).

    Args:
        config: A data section.
        kind: Weak, strong, or the evaluation transform.
        key: Key of the random stream.
        ids: (n,) uint64.
        identity_prob: Probability that a view is the evaluation transform.
        min_crop_scale: Smallest area of a strong crop; scenes do not use it.
    """
    return SOURCES[config.name].sample_view(config, kind, key, ids, identity_prob, min_crop_scale)
