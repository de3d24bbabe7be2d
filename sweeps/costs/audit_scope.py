"""What an audit holds for: the code that was tried, and the kind of device that it was tried on.

An audit of other code does not know of a switch that broke since; seconds on a processor are not
those on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from uniclip.identity import compute_training_hash
from uniclip.io.atomic import read_record
from uniclip.store import AuditRecord, Plan, SweepFolder

AUDIT_ERROR_CHECK = "the audit"
"""The check that does not hold where an audit could not be made."""


@dataclass(frozen=True, kw_only=True)
class AuditKey:
    """What an audit is asked for."""

    training_hash: str
    """Training hash, of whoever asks: the nodes of a cluster may have other libraries."""
    device: str
    """As runtime.device."""

    @property
    def device_type(self) -> str:
        """The kind of device."""
        return parse_device_type(self.device)

    def replace_plan_device(self, plan: Plan) -> Plan:
        """The plan on this device: the one that is written down may have been run on another."""
        runtime = {**plan.base_config["runtime"], "device": self.device}
        return replace(plan, base_config={**plan.base_config, "runtime": runtime})


def parse_device_type(device: str) -> str:
    """The kind of a device: cuda of cuda:1."""
    return device.partition(":")[0]


def compute_audit_key(plan: Plan) -> AuditKey:
    """The code as it is in this process, and the plan's device."""
    return AuditKey(
        training_hash=compute_training_hash(), device=plan.base_config["runtime"]["device"]
    )


def has_audit(folder: SweepFolder, audit_key: AuditKey) -> bool:
    """Whether the audit was made of this code and on this kind of device, or could not be made."""
    audit: AuditRecord | None = read_record(AuditRecord, folder.audit_path)
    return audit is not None and (audit.training_hash, audit.device_type) == (
        audit_key.training_hash,
        audit_key.device_type,
    )


def audit_failed(folder: SweepFolder) -> bool:
    """Whether the audit could not be made."""
    return any(f.name == AUDIT_ERROR_CHECK for f in folder.read_audit_checks())


def has_valid_audit(folder: SweepFolder, audit_key: AuditKey) -> bool:
    """Whether it was made (one that could not be is made again)."""
    return has_audit(folder, audit_key) and not audit_failed(folder)
