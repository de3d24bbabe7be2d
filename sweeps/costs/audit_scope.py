"""The scope of an audit: training code, device type and number of processes for which it is valid.

An audit of other code would miss a switch that has been broken since, and the seconds of a CPU, or
of one process, say nothing about those of a GPU, or of several processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from uniclip.commands.definition import EXECUTOR
from uniclip.identity import compute_training_hash
from uniclip.io.hashing import digest
from uniclip.store import AuditRecord, Plan, SweepFolder
from uniclip.store.json_io import read_record
from uniclip.store.sweep_records import AUDIT_ERROR_CHECK


@dataclass(frozen=True, kw_only=True)
class AuditKey:
    """The scope in which an audit is requested."""

    training_hash: str
    """Training hash of the process that requests the audit: the nodes of a cluster may have other
    libraries."""
    device: str
    """As runtime.device."""
    world_size: int | None = None
    """Processes of a run; None: any number."""

    @property
    def device_type(self) -> str:
        """The device type, such as "cuda"."""
        return parse_device_type(self.device)

    def replace_plan_device(self, plan: Plan) -> Plan:
        """Return the plan with this device: the stored plan may name another."""
        runtime = {**plan.base_config["runtime"], "device": self.device}
        base_config = {**plan.base_config, "runtime": runtime}
        return replace(plan, base_config=base_config, launch_device=self.device)


def parse_device_type(device: str) -> str:
    """Return the type of a device: "cuda" for "cuda:1"."""
    return device.partition(":")[0]


def is_of_world_size(recorded: int | None, requested: int | None) -> bool:
    """Return whether a measurement counts for runs of so many processes; None: not known, any."""
    return recorded is None or requested is None or recorded == requested


def compute_audit_key(plan: Plan, world_size: int | None = None) -> AuditKey:
    """Return the scope given by the code of this process and the device of the plan.

    world_size: processes of a run; None: any number.
    """
    training_hash = compute_training_hash()
    return AuditKey(training_hash=training_hash, device=plan.device, world_size=world_size)


def compute_checks_digest(plan: Plan) -> str:
    """Return the digest of how the arms of a command are checked; "" for other plans.

    The id of the sweep does not cover it.
    """
    if plan.executor != EXECUTOR:
        return ""
    definition = plan.base_config["runtime"]["command"]["definition"]
    manipulation_checks = {c.name: c.manipulation_check for c in plan.components}
    return digest([definition, plan.command_checks, manipulation_checks])


def has_audit(folder: SweepFolder, audit_key: AuditKey) -> bool:
    """Return whether an audit was attempted in this scope, be it with an error."""
    audit: AuditRecord | None = read_record(AuditRecord, folder.audit_path)
    return (
        audit is not None
        and (audit.training_hash, audit.device_type)
        == (audit_key.training_hash, audit_key.device_type)
        and is_of_world_size(audit.world_size, audit_key.world_size)
    )


def audit_failed(folder: SweepFolder) -> bool:
    """Return whether the stored audit raised an error."""
    return any(check.name == AUDIT_ERROR_CHECK for check in folder.read_audit_checks())


def has_valid_audit(folder: SweepFolder, audit_key: AuditKey) -> bool:
    """Return whether there is an audit in this scope that raised no error."""
    return has_audit(folder, audit_key) and not audit_failed(folder)


def find_refusal(folder: SweepFolder, plan: Plan) -> str | None:
    """Return why no cell of a sweep may be executed: its audit found a failure that forbids it.

    The arms of a command are refused if a check fails or could not be made; those of this package's
    training are not: there the report shows it.
    """
    if plan.executor != EXECUTOR:
        return None
    failures = [c.failure_message for c in folder.read_audit_checks() if not c.passed]
    if not failures:
        return None
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"the audit refuses the sweep, no cell was run: {failures[0]}{more}"
