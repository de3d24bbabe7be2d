"""Writing the bundle of a sweep."""

from __future__ import annotations

import io
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sweeps.bundles.archive import write_archive
from sweeps.bundles.contents import STORE_FOLDER, BundleContents, collect_contents
from sweeps.bundles.manifest import Manifest, hash_stream
from uniclip.errors import UserError
from uniclip.store import Plan, Store


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was written."""

    path: Path
    digest: str
    """SHA-256 hash of the manifest's lines, which stands for the whole content."""
    num_files: int
    num_bytes: int
    contents: BundleContents


def write_bundle(store: Store, plan: Plan, target: Path, *, with_weights: bool) -> WrittenBundle:
    """Write the bundle of a sweep whose report was built.

    The same files give the same bytes. `target` is complete, or not there.

    Raises:
        UserError: `target` exists, no cell is finished, or a file changes meanwhile.
    """
    if os.path.lexists(target):
        raise UserError(f"{target} exists: delete it, or give another to=<file>")
    if not target.parent.is_dir():
        raise UserError(f"to={target}: there is no folder {target.parent}")
    contents = collect_contents(store, plan, with_weights=with_weights)
    if not contents.finished_cells:
        raise UserError(f"{plan.sweep_id} has no finished cell yet: there is nothing to bundle")
    plan_name = f"{STORE_FOLDER}/sweeps/{plan.sweep_id}/plan.json"
    if plan_name not in contents.paths:
        raise UserError(
            f"{plan_name} is not a regular file, or its name has letters that a bundle does not "
            "take: a sweep is named after the file of its ablation; use a-z, 0-9, _ and - there"
        )

    def open_file(name: str) -> BinaryIO:
        if name in contents.generated:
            return io.BytesIO(contents.generated[name])
        try:
            return open(contents.paths[name], "rb")
        except FileNotFoundError:
            raise UserError(
                f"{name} was deleted while it was packed: run the command again"
            ) from None

    hashes = {}
    for name in sorted([*contents.generated, *contents.paths]):
        with open_file(name) as stream:
            hashes[name] = hash_stream(stream)
    manifest = Manifest(hashes)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            write_archive(stream, manifest, open_file)
            stream.flush()
            os.fsync(stream.fileno())
            num_bytes = stream.tell()
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return WrittenBundle(target, manifest.digest, len(hashes), num_bytes, contents)
