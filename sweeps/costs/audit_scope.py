"""What an audit holds for: the code that was tried, and the kind of device that it was tried on.

An audit of other code does not know of a switch that broke since; seconds on a processor are not
those on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from uniclip.identity import training_hash
from uniclip.io.atomic import read
from uniclip.store import Audit, Plan, SweepFolder

FAILED = "the audit"
"""The check that does not hold where an audit could not be made."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What an audit is asked for."""

    training: str
    """Training hash, of whoever asks: the nodes of a cluster may have other libraries."""
    device: str
    """As runtime.device."""

    @property
    def kind(self) -> str:
        """The kind of device."""
        return kind(self.device)

    def placed(self, plan: Plan) -> Plan:
        """The plan on this device: the one that is written down may have been run on another."""
        runtime = {**plan.base["runtime"], "device": self.device}
        return replace(plan, base={**plan.base, "runtime": runtime})


def kind(device: str) -> str:
    """The kind of a device: cuda of cuda:1."""
    return device.partition(":")[0]


def basis(plan: Plan) -> Basis:
    """The code as it is in this process, and the plan's device."""
    return Basis(training=training_hash(), device=plan.base["runtime"]["device"])


def audited(folder: SweepFolder, meant: Basis) -> bool:
    """Whether the audit was made of this code and on this kind of device, or could not be made."""
    audit: Audit | None = read(Audit, folder.audit)
    return audit is not None and (audit.training, audit.device) == (meant.training, meant.kind)


def failed(folder: SweepFolder) -> bool:
    """Whether the audit could not be made."""
    return any(f.check == FAILED for f in folder.findings())


def proven(folder: SweepFolder, meant: Basis) -> bool:
    """Whether it was made (one that could not be is made again)."""
    return audited(folder, meant) and not failed(folder)
