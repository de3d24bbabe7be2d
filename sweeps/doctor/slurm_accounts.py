"""Whether a user may submit jobs with an account and a QOS to a partition, and how large ones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sweeps.doctor.slurm_nodes import NodeRequest, parse_gpus, parse_memory_mb

ASSOCIATION_FORMAT = "format=Account,Partition,QOS,MaxWall,MaxTRES"
QOS_FORMAT = "format=Name,MaxWall,MaxTRES"


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """The largest job that an association or a QOS admits."""

    label: str
    """Such as "account lab" or "QOS long"."""
    max_minutes: float = math.inf
    max_resources: str = ""
    """As sacctmgr prints it, such as "cpu=16,gres/gpu=2,mem=64G,node=1"."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """What a user may use together with one account."""

    account: str
    partition: str = ""
    """The only partition; empty for every partition."""
    qos: frozenset[str] = frozenset()
    limits: JobLimits


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """What the accounting database knows of a user; nothing unless its limits are enforced."""

    has_database: bool = False
    associations: tuple[Association, ...] = ()
    qos_limits: Mapping[str, JobLimits] = field(default_factory=dict)


def parse_time_limit_minutes(text: str) -> float:
    """Return a limit such as "1-12:00:00", "30:00" or "UNLIMITED" in minutes."""
    if text in ("UNLIMITED", "INFINITE", "NONE", "n/a", ""):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, clock_minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + clock_minutes + seconds / 60


def parse_associations(lines: Iterable[str]) -> tuple[Association, ...]:
    """Return the output of `sacctmgr -nP show assoc` with `ASSOCIATION_FORMAT`."""
    rows = [line.split("|") for line in lines]
    return tuple(
        Association(
            account=account,
            partition=partition,
            qos=frozenset(filter(None, qos.split(","))),
            limits=JobLimits(
                label=f"account {account}",
                max_minutes=parse_time_limit_minutes(max_wall),
                max_resources=max_resources,
            ),
        )
        for account, partition, qos, max_wall, max_resources in (r for r in rows if len(r) == 5)
    )


def parse_qos_limits(lines: Iterable[str]) -> dict[str, JobLimits]:
    """Return the output of `sacctmgr -nP show qos` with `QOS_FORMAT`, by name."""
    rows = [line.split("|") for line in lines]
    return {
        name: JobLimits(
            label=f"QOS {name}",
            max_minutes=parse_time_limit_minutes(max_wall),
            max_resources=max_resources,
        )
        for name, max_wall, max_resources in (row for row in rows if len(row) == 3)
    }


def find_forbidden_use(
    partition: Mapping[str, str], accounting: Accounting, account: str | None, qos: str | None
) -> tuple[str, str] | None:
    """Return why account or QOS may not be used, and what to change; None if they may.

    Args:
        partition: the parameters of the partition, as scontrol prints them.
        accounting: what the accounting database knows of the user.
        account: the requested account in lower case; None for the user's default.
        qos: the requested QOS in lower case; None for the default.
    """
    rules = (("AllowAccounts", "DenyAccounts", account), ("AllowQos", "DenyQos", qos))
    for (allow_name, deny_name, value), key in zip(rules, ("account", "qos")):
        allowed, denied = partition.get(allow_name), partition.get(deny_name)
        used = f"{key} {value}" if value else f"no {key} is requested"
        where = f"partition {partition.get('PartitionName')}"
        if not _is_allowed(value, allowed, accounting):
            used += "" if accounting.has_database else " (this cluster has no accounting)"
            return f"{used}: {where} allows {allowed}", f"launcher.{key}=<name>"
        if value is not None and value in (denied or "").lower().split(","):
            return f"{used}: {where} denies {denied}", f"launcher.{key}=<name>"
    associations = accounting.associations
    accounts = sorted({association.account for association in associations})
    if account is not None and associations and account not in accounts:
        return f"account {account}: yours are {', '.join(accounts)}", "launcher.account=<name>"
    names = {
        name
        for association in associations
        if account in (None, association.account)
        for name in association.qos
    }
    if qos is not None and names and qos not in names:
        return f"QOS {qos}: yours are {', '.join(sorted(names))}", "launcher.qos=<name>"
    return None


def list_limits(
    accounting: Accounting,
    partition: Mapping[str, str],
    account: str | None,
    qos: str | None,
) -> list[JobLimits]:
    """Return the limits that apply to a job of this account and QOS, and those of the partition.

    Without a requested account, those of the only association; the default is not known otherwise.

    Args:
        accounting: what the accounting database knows of the user.
        partition: the parameters of the partition, as scontrol prints them.
        account: the requested account in lower case; None for the user's default.
        qos: the requested QOS in lower case; None for the default.
    """
    matching_limits = [
        association.limits
        for association in accounting.associations
        if account in (None, association.account)
        and association.partition in ("", partition.get("PartitionName"))
    ]
    limits = matching_limits if account is not None or len(matching_limits) == 1 else []
    names = [name for name in (qos, partition.get("QoS")) if name in accounting.qos_limits]
    return [*limits, *(accounting.qos_limits[name] for name in names if name is not None)]


def find_exceeded_limit(
    limits: Iterable[JobLimits], request: NodeRequest, timeout_min: int
) -> tuple[str, str] | None:
    """Return the first limit that a job exceeds, and what to change; None if it exceeds none."""
    for limit in limits:
        if timeout_min > limit.max_minutes:
            message = f"{timeout_min} minutes requested, {limit.label} allows {limit.max_minutes:g}"
            return message, f"launcher.timeout_min={limit.max_minutes:g}"
        resources = dict(re.findall(r"([^=,]+)=([^,]+)", limit.max_resources))
        num_gpus = request.nodes * sum(request.gpus.values())
        max_gpus = sum(parse_gpus(f"gpu:{resources.get('gres/gpu', 'none')}").values())
        requested_amounts = {
            "node": (request.nodes, _parse_amount(resources.get("node")), "launcher.nodes"),
            "cpu": (
                request.nodes * request.cpus,
                _parse_amount(resources.get("cpu")),
                "launcher.cpus_per_task",
            ),
            "gres/gpu": (
                num_gpus,
                max_gpus if "gres/gpu" in resources else math.inf,
                "launcher.gpus_per_node",
            ),
            "mem": (
                request.nodes * request.memory_mb,
                parse_memory_mb(resources["mem"]) if "mem" in resources else math.inf,
                "launcher.mem_gb",
            ),
        }
        for name, (requested, allowed, key) in requested_amounts.items():
            if requested > allowed:
                message = f"{name}={requested:g} requested, {limit.label} allows {allowed:g}"
                return message, f"a smaller {key}"
    return None


def _is_allowed(value: str | None, allowed: str | None, accounting: Accounting) -> bool:
    """Return whether a partition admits an account or QOS.

    The user's default, which is not known, is taken to be admitted. Without an accounting database
    Slurm knows no account and no QOS, and admits none to such a partition.
    """
    if allowed in (None, "ALL", "(null)", "N/A"):
        return True
    return accounting.has_database and (
        value is None or value in (allowed or "").lower().split(",")
    )


def _parse_amount(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else math.inf
