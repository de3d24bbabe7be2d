"""What the jobs of a sweep require of a Slurm cluster, and what the cluster says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeps.doctor.slurm_accounts import (
    ASSOCIATION_FORMAT,
    QOS_FORMAT,
    Accounting,
    parse_associations,
    parse_qos_limits,
)
from sweeps.doctor.slurm_nodes import (
    SINFO_FORMAT,
    NodeGroup,
    NodeRequest,
    parse_node_groups,
    parse_request,
)
from sweeps.slurm import parse_job, run_command
from sweeps.slurm_environment import SbatchVariables, get_option_name


@dataclass(frozen=True, kw_only=True)
class JobRequirements:
    """What the jobs of a sweep require of a cluster."""

    partition: str | None = None
    """One, or several separated by commas. None: that of `sbatch_variables`, or the default."""
    nodes: int = 1
    """Nodes of one job."""
    timeout_min: int = 240
    """Time limit of a job, in minutes."""
    num_jobs: int = 1
    """Jobs to be submitted."""
    sbatch_options: tuple[str, ...] = ()
    """The options with which the launcher calls sbatch."""
    sbatch_variables: SbatchVariables = field(default_factory=SbatchVariables)
    """The options that the user has exported for sbatch."""
    follow_up_options: tuple[str, ...] = ()
    """The options of sbatch for the follow-up job; empty if there is none."""
    follow_up_variables: SbatchVariables = field(default_factory=SbatchVariables)
    """As `sbatch_variables`, for the follow-up job."""
    checkpoint_seconds: float = 30.0
    """As runtime.checkpoint_seconds."""
    save_seconds: float | None = None
    """Seconds to finish a step and to write a checkpoint; None: not measured."""
    signal_delay_s: int = 120
    """Seconds before its time limit at which a job is signalled to stop."""
    gpu_mismatch: str = ""
    """How requested GPUs and runtime.device disagree; empty if they agree."""
    store_path: str = ""
    """The folder of the store."""

    @property
    def partitions(self) -> list[str]:
        """The requested partitions; none for the cluster's default."""
        partition = self.partition or self.sbatch_variables.get_option("partition")
        return partition.split(",") if partition else []

    @property
    def node_request(self) -> NodeRequest:
        """What a job requests of each of its nodes."""
        applied = self.sbatch_variables.applied
        variables = {get_option_name(name): value for name, value in applied.items()}
        return parse_request(self.sbatch_options, variables, self.nodes)

    def get_option(self, name: str) -> str | None:
        """Return the value of an option of sbatch, such as "account"; None if it is not set."""
        values = [o.partition("=")[2] for o in self.sbatch_options if o.startswith(f"--{name}=")]
        return values[-1] if values else self.sbatch_variables.get_option(name)


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """Facts about a cluster, as Slurm reports them."""

    config: Mapping[str, str]
    """Parameter of slurm.conf -> value."""
    partitions: Mapping[str, Mapping[str, str]]
    """Partition -> its parameters."""
    node_groups: tuple[NodeGroup, ...] = ()
    """The nodes of the requested partitions; none if Slurm does not tell."""
    max_submit_jobs: int | None = None
    """Jobs that this user may have in the queue; None: no limit is known."""
    sbatch_error: str | None = None
    """Why sbatch rejects such a job; None: it accepts it."""
    follow_up_error: str | None = None
    """Why sbatch rejects the follow-up job; None: it accepts it."""
    reservations: tuple[str, ...] = ()
    """Reservations, read if sbatch rejects the job."""
    accounting: Accounting = field(default_factory=Accounting)
    """What the accounting database knows of this user."""

    def find_partitions(self, requirements: JobRequirements) -> list[Mapping[str, str]]:
        """Return the requested partitions that exist, or the default one; may be empty."""
        if requirements.partitions:
            names = [name for name in requirements.partitions if name in self.partitions]
            return [self.partitions[name] for name in names]
        return [p for p in self.partitions.values() if p.get("Default") == "YES"]


def query_cluster(config: Mapping[str, str], requirements: JobRequirements) -> ClusterInfo:
    """Return what the checks need to know."""
    partitions = [
        parse_job(line) for line in _query_lines("scontrol", "-a", "-o", "show", "partition")
    ]
    names = requirements.partitions or [
        p["PartitionName"] for p in partitions if p.get("Default") == "YES"
    ]
    partition_args = ["-p", ",".join(names)] if names else []
    sbatch_error = _test_submission(requirements.sbatch_options, requirements.sbatch_variables)
    reservation_lines = (
        [] if sbatch_error is None else _query_lines("scontrol", "-o", "show", "reservation")
    )
    return ClusterInfo(
        config=config,
        partitions={p["PartitionName"]: p for p in partitions if "PartitionName" in p},
        node_groups=parse_node_groups(
            _query_lines("sinfo", "-h", "-e", *partition_args, "-o", SINFO_FORMAT)
        ),
        max_submit_jobs=_query_max_submit_jobs(config),
        sbatch_error=sbatch_error,
        follow_up_error=_test_submission(
            requirements.follow_up_options, requirements.follow_up_variables
        )
        if requirements.follow_up_options
        else None,
        reservations=tuple(
            fields["ReservationName"]
            for fields in map(parse_job, reservation_lines)
            if "ReservationName" in fields
        ),
        accounting=_query_accounting(config),
    )


# ---- parsers -------------------------------------------------------------------------------------


def parse_leading_int(text: str | None, default: int = 0) -> int:
    """Return the number at the start of a value, such as 300 for "300 sec"."""
    first_word = (text or "").split()[:1]
    return int(first_word[0]) if first_word and first_word[0].isdecimal() else default


def parse_smallest_limit(lines: list[str]) -> int | None:
    """Return the smallest number in the lines of `sacctmgr show assoc format=MaxSubmitJobs`."""
    numbers = [int(line) for line in lines if line.strip().isdecimal()]
    return min(numbers, default=None)


def extract_last_line(output: str) -> str:
    """Return the last line of the output of a command, without the name of the command."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no message"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ")


# ---- queries -------------------------------------------------------------------------------------


def _query_max_submit_jobs(config: Mapping[str, str]) -> int | None:
    import getpass

    if not config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return None
    user = f"user={getpass.getuser()}"
    return parse_smallest_limit(
        _query_lines("sacctmgr", "-nP", "show", "assoc", user, "format=MaxSubmitJobs")
    )


def _query_accounting(config: Mapping[str, str]) -> Accounting:
    """Return what the accounting database says of this user, where its limits are enforced."""
    import getpass

    if not config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return Accounting()
    if config.get("AccountingStorageEnforce", "none") in ("none", "(null)", ""):
        return Accounting(has_database=True)
    show = ("sacctmgr", "-nP", "show")
    whose = (f"user={getpass.getuser()}", f"cluster={config.get('ClusterName', '')}")
    return Accounting(
        has_database=True,
        associations=parse_associations(_query_lines(*show, "assoc", *whose, ASSOCIATION_FORMAT)),
        qos_limits=parse_qos_limits(_query_lines(*show, "qos", QOS_FORMAT)),
    )


def _test_submission(options: tuple[str, ...], variables: SbatchVariables) -> str | None:
    """Return why sbatch rejects a job with these options; None if it accepts it."""
    result = run_command(
        *("sbatch", "--test-only", *options, "--wrap=true"), sbatch_variables=variables.applied
    )
    return None if result.returncode == 0 else extract_last_line(result.stderr)


def _query_lines(*command: str) -> list[str]:
    result = run_command(*command)
    return result.stdout.splitlines() if result.returncode == 0 else []
