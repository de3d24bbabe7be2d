"""Checks that the jobs of a sweep can start on a Slurm cluster, now or at all."""

from __future__ import annotations

import math
import os
import re

from sweeps.doctor.cluster_info import ClusterInfo, JobRequirements
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from sweeps.doctor.slurm_accounts import (
    find_exceeded_limit,
    find_forbidden_use,
    list_limits,
    parse_time_limit_minutes,
)
from sweeps.doctor.slurm_nodes import count_nodes, find_unmet_requests

PASSING_REJECTIONS = re.compile(
    "not available|busy|temporarily|submit|policy|not responding|no answer|timed out|to contact",
    re.IGNORECASE,
)
"""Messages of sbatch that may be due to nodes or limits as they are now."""
UNUSABLE_PATH_CHARACTERS = {
    "\\": "a backslash, which turns off the patterns (%j) in Slurm's file names",
    "\n": "a line break, which ends an option of a job's script",
    "\r": "a carriage return, which ends an option of a job's script",
    ":": 'a ":", which separates the folders of PYTHONPATH',
}


def check_partition(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that the requested partitions, or a default one, exist and accept jobs."""
    check = "partition"
    partitions = cluster_info.find_partitions(requirements)
    partition_names = ", ".join(sorted(cluster_info.partitions)) or "none"
    missing_names = [n for n in requirements.partitions if n not in cluster_info.partitions]
    if not requirements.partitions and not partitions and cluster_info.sbatch_error is None:
        return ok(check, "none is requested, and there is no default; sbatch accepts the job")
    if missing_names or not partitions:
        reason = f"no partition {missing_names[0]}" if missing_names else "no default partition"
        message = f"{reason}; the partitions are {partition_names}"
        is_exported = not requirements.partition and missing_names
        fix = " (SBATCH_PARTITION, which is exported, names another)" if is_exported else ""
        return problem(check, message, f"launcher.partition=<name>{fix}")
    states = {p.get("State", "UP") for p in partitions}
    name = ", ".join(p.get("PartitionName", "?") for p in partitions)
    if not states & {"UP", "DOWN"}:
        message = f"{name} accepts no jobs (State={states.pop()})"
        return problem(check, message, "another launcher.partition")
    if "UP" not in states:
        fix = "jobs wait until it is up; or another launcher.partition"
        return warning(check, f"{name} starts no jobs (State=DOWN)", fix)
    return ok(check, name)


def check_store_path(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that Slurm and the jobs can be given the path of the store."""
    check, path = "path of the store", requirements.store_path
    for character, description in UNUSABLE_PATH_CHARACTERS.items():
        if character in path:
            message = f"store={path!r} contains {description}"
            return problem(check, message, "choose another store=")
    try:
        path.encode()
    except UnicodeEncodeError:
        message = f"store={os.fsencode(path)!r} is not valid UTF-8"
        return problem(check, message, "choose another store=")
    return ok(check, "every character can be passed on")


def check_environment(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Name the exported variables of sbatch, and which of them apply."""
    description = requirements.sbatch_variables.describe()
    return ok("environment", description or "no option of sbatch is exported (SBATCH_*)")


def check_node_size(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that a node of the partition has the cores, the memory and the GPUs of a job."""
    check, request, groups = "node size", requirements.node_request, cluster_info.node_groups
    partition_name = _name_partitions(cluster_info, requirements)
    if not groups:
        return ok(check, "Slurm does not say what its nodes have")
    unmet_requests = find_unmet_requests(request, groups)
    if unmet_requests:
        message = "; ".join(
            f"{requested} requested, nodes of {partition_name} have {available}"
            for requested, available, _ in unmet_requests
        )
        fixes = [fix for _, _, fix in unmet_requests]
        return problem(check, message, f"{', '.join(fixes)}, or another launcher.partition")
    if not any(map(request.is_met, groups)):
        message = f"no node of {partition_name} has the cores, the memory and the GPUs together"
        return problem(check, message, "request less, or another launcher.partition")
    return ok(check, f"nodes of {partition_name} have what a cell requests")


def check_nodes(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that the partition has enough nodes for one cell, and that they are usable."""
    check, request, groups = "nodes", requirements.node_request, cluster_info.node_groups
    partition_name = _name_partitions(cluster_info, requirements)
    if not groups:
        return ok(check, "Slurm does not list them")
    num_nodes = count_nodes(request, groups) or sum(group.count for group in groups)
    num_usable = count_nodes(request, [group for group in groups if group.is_usable])
    partitions = cluster_info.find_partitions(requirements)
    max_nodes = max((_parse_max_nodes(p.get("MaxNodes")) for p in partitions), default=math.inf)
    if request.nodes > min(num_nodes, max_nodes):
        limit = f"allows {max_nodes:g}" if max_nodes < num_nodes else f"has {num_nodes}"
        message = f"a cell needs {request.nodes} nodes, {partition_name} {limit}"
        return problem(check, message, "fewer launcher.nodes, or another launcher.partition")
    if num_usable < request.nodes and any(map(request.is_met, groups)):
        counts: dict[str, int] = {}
        for group in groups:
            counts[group.state] = counts.get(group.state, 0) + group.count
        node_states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        message = (
            f"a cell needs {request.nodes}, {num_usable} of {num_nodes} are usable now "
            f"({node_states})"
        )
        fix = "jobs wait until they are; or another launcher.partition, or fewer launcher.nodes"
        return warning(check, message, fix)
    return ok(check, f"{num_usable} of {num_nodes} are usable")


def check_account(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that account and QOS may be used, and admit a job of this size."""
    check, accounting = "account and QOS", cluster_info.accounting
    names = (requirements.get_option("account"), requirements.get_option("qos"))
    account, qos = (name.lower() if name else None for name in names)  # as Slurm stores them
    partitions = cluster_info.find_partitions(requirements)
    violations = [
        find_forbidden_use(partition, accounting, account, qos)
        or find_exceeded_limit(
            list_limits(accounting, partition, account, qos),
            requirements.node_request,
            requirements.timeout_min,
        )
        for partition in partitions
    ]
    if violations and all(violations):
        message, fix = violations[0] or ("", "")
        return problem(check, message, fix)
    if not cluster_info.config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return ok(check, "no accounting database: every name is accepted")
    return ok(check, "they may be used")


def check_test_submission(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that `sbatch --test-only` accepts such a job."""
    check, error = "sbatch --test-only", cluster_info.sbatch_error
    if error is None:
        return ok(check, "the job is accepted")
    nodes_warning = check_nodes(cluster_info, requirements).level == "warning"
    if PASSING_REJECTIONS.search(error) and (nodes_warning or "not available" not in error):
        return warning(check, error, "jobs may wait for it; or change what launcher.* requests")
    if "not available" in error and cluster_info.reservations:
        message = f"{error} (reservations: {', '.join(cluster_info.reservations)})"
        fix = "jobs wait for their end; or a smaller launcher.timeout_min, or another partition"
        return warning(check, message, fix)
    return problem(check, error, "change what launcher.* requests: account, GPUs, memory")


def check_follow_up(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that sbatch accepts the follow-up job, and that its time limit is allowed."""
    check, error = "follow-up job", cluster_info.follow_up_error
    if not requirements.follow_up_options:
        return ok(check, "none is submitted")
    is_shared = error == cluster_info.sbatch_error  # the cells are rejected too
    if error is not None and not is_shared and not PASSING_REJECTIONS.search(error):
        fix = "another launcher.follow_up_partition, or launcher.follow_up=false wait=true"
        return problem(check, error, fix)
    values = dict(
        o.removeprefix("--").split("=", 1) for o in requirements.follow_up_options if "=" in o
    )
    names = values.get("partition") or requirements.follow_up_variables.get_option("partition")
    partitions = [cluster_info.partitions.get(name, {}) for name in (names or "").split(",")]
    max_minutes = max(parse_time_limit_minutes(p.get("MaxTime", "UNLIMITED")) for p in partitions)
    if float(values.get("time", 0)) > max_minutes:
        message = f"{values['time']} minutes requested, {names} allows {max_minutes:g}"
        return problem(
            check, message, "another launcher.follow_up_partition, or a smaller timeout_min"
        )
    return ok(check, "accepted" if error is None else f"accepted later ({error})")


def check_time_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that the partition allows the time limit; otherwise jobs may wait for ever."""
    check, partition_name = "time limit", _name_partitions(cluster_info, requirements)
    partitions = cluster_info.find_partitions(requirements)
    max_times = [parse_time_limit_minutes(p.get("MaxTime", "UNLIMITED")) for p in partitions]
    max_minutes = max(max_times, default=math.inf)
    if requirements.timeout_min > max_minutes:
        message = (
            f"{requirements.timeout_min} minutes requested, {partition_name} allows {max_minutes:g}"
        )
        fix = f"launcher.timeout_min={max_minutes:g}: cells are requeued and continue"
        return problem(check, message, fix)
    limit = "no limit" if math.isinf(max_minutes) else f"{max_minutes:g}"
    return ok(check, f"{requirements.timeout_min} minutes of {limit}")


def _name_partitions(cluster_info: ClusterInfo, requirements: JobRequirements) -> str:
    partitions = cluster_info.find_partitions(requirements)
    names = ",".join(partition.get("PartitionName", "?") for partition in partitions)
    return names or "the cluster"


def _parse_max_nodes(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else math.inf
