"""Will this Slurm take the jobs of a sweep, warn them, and give them back?

What Slurm says is parsed by pure functions; each check is one more, over what was said.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.doctor.finding import Finding, ok, problem, warning
from sweeps.slurm import ask, parse_config, parse_job

LEAST_MEMORY_SECONDS = 120
"""So long a cluster without accounting should remember how a job ended."""
USABLE = {"idle", "mixed", "allocated", "completing", "planned"}
NO_OPTIONS = {
    "job_name",
    "array_parallelism",
    "signal_delay_s",
    "setup",
    "srun_args",
    "additional_parameters",
}
"""Words of submitit that sbatch has no option for, or that a single job does without."""
FEWER = "launcher.pack=<cells a job>, or leave it: what is refused is submitted by the follow-up"


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a sweep asks of a cluster."""

    partition: str | None = None
    """None: the cluster's default."""
    nodes: int = 1
    minutes: int = 240
    jobs: int = 1
    """Jobs that are to be submitted."""
    options: tuple[str, ...] = ()
    """How the launcher would call sbatch."""
    checkpoint_seconds: float = 30.0
    save_seconds: float | None = None
    """How long it takes to come to the end of a step and to save; None: not measured."""
    notice_seconds: int = 120
    """How long before its time limit a job is told to."""
    idle: str = ""
    """GPUs that runs would not use, or would lack, in words."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a cluster says of itself."""

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    nodes: Mapping[str, int]
    """State -> nodes of the partition that was asked for."""
    most_submitted: int | None
    """Jobs that this user may have in the queue; None: no limit is known."""
    refusal: str | None
    """Why sbatch would not take such a job; None: it would."""

    def partition(self, need: Need) -> Mapping[str, str] | None:
        """The partition that is asked for, or the default one; None if there is none."""
        if need.partition is not None:
            return self.partitions.get(need.partition)
        return next((p for p in self.partitions.values() if p.get("Default") == "YES"), None)


def examine(need: Need) -> list[Finding]:
    """Ask Slurm, then judge; where it does not answer there is nothing else to be said."""
    if shutil.which("sbatch") is None:
        mend = "go to a login node of the cluster (module load slurm?), or launcher=local"
        return [problem("Slurm", "there is no sbatch here", mend)]
    config = ask("scontrol", "show", "config")
    if config.returncode != 0:
        said = (config.stderr.strip().splitlines() or ["no answer"])[-1]
        return [problem("Slurm", f"its controller does not answer ({said})", "scontrol ping")]
    known = parse_config(config.stdout)
    said = f"{known.get('SLURM_VERSION', '?')}, cluster {known.get('ClusterName', '?')}"
    return [ok("Slurm", said), *judge(look(known, need), need)]


def expected_start(options: tuple[str, ...]) -> str:
    """When such a job would start, in Slurm's words, or why it would not."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch here"
    tried = ask("sbatch", "--test-only", *options, "--wrap=true")
    start = re.search(r"to start at (\S+)", tried.stderr)
    return start[1].replace("T", " ") if start else last_line(tried.stderr)


def judge(seen: Seen, need: Need) -> list[Finding]:
    """Every check; without the partition those that need it are left out."""
    if seen.partition(need) is None:
        names = ", ".join(sorted(seen.partitions)) or "none"
        what = f"no partition {need.partition}" if need.partition else "no default partition"
        return [problem("partition", f"{what}; there are {names}", "launcher.partition=<name>")]
    return [check(seen, need) for check in CHECKS]


def look(config: Mapping[str, str], need: Need) -> Seen:
    """Ask what the checks want to know."""
    partitions = [parse_job(line) for line in _said("scontrol", "-o", "show", "partition")]
    named = {p["PartitionName"]: p for p in partitions if "PartitionName" in p}
    where = [] if need.partition is None else ["-p", need.partition]
    lines = (line.split("|") for line in _said("sinfo", "-h", *where, "-o", "%T|%D"))
    nodes: dict[str, int] = {}
    for state, count in lines:
        nodes[state] = nodes.get(state, 0) + int(count)
    tried = ask("sbatch", "--test-only", *need.options, "--wrap=true")
    return Seen(
        config=config,
        partitions=named,
        nodes=nodes,
        most_submitted=_most_submitted(config),
        refusal=None if tried.returncode == 0 else last_line(tried.stderr),
    )


# ---- what Slurm prints ---------------------------------------------------------------------------


def options(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """What a launcher asks for in submitit's words, as options of sbatch."""
    further = {k: v for k, v in asked.get("additional_parameters", {}).items() if k != "hold"}
    plain = {k: v for k, v in asked.items() if k not in NO_OPTIONS}
    named = {k.replace("_", "-"): v for k, v in {**plain, **further}.items()}
    return tuple(f"--{k}" if v is True else f"--{k}={v}" for k, v in named.items())


def number(said: str | None, default: int = 0) -> int:
    """The number that a value begins with, such as 300 of `300 sec`."""
    first = (said or "").split()[:1]
    return int(first[0]) if first and first[0].isdecimal() else default


def minutes(said: str) -> float:
    """A limit such as `1-12:00:00`, `30:00` or `UNLIMITED`, in minutes."""
    if said in ("UNLIMITED", "INFINITE", "NONE", "n/a"):
        return math.inf
    days, _, clock = said.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, mins, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def least(lines: list[str]) -> int | None:
    """The smallest number in the lines of `sacctmgr show assoc format=MaxSubmitJobs`."""
    numbers = [int(line) for line in lines if line.strip().isdecimal()]
    return min(numbers, default=None)


def last_line(said: str) -> str:
    """The last line of what a command said, without the command's name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it did not say why"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ")


# ---- checks --------------------------------------------------------------------------------------


def nodes_up(seen: Seen, need: Need) -> Finding:
    """As many nodes as a cell wants are there to be used."""
    check, everyone = "nodes", sum(seen.nodes.values())
    up = sum(n for state, n in seen.nodes.items() if state.rstrip("*+-~#%$@!^") in USABLE)
    down = ", ".join(f"{n} {state}" for state, n in sorted(seen.nodes.items()))
    if up < need.nodes:
        said = f"a cell wants {need.nodes}, {up} of {everyone} can be used ({down})"
        return problem(check, said, "another launcher.partition, fewer launcher.nodes, or wait")
    return ok(check, f"{up} of {everyone} can be used")


def accepted(seen: Seen, need: Need) -> Finding:
    """`sbatch --test-only` takes such a job."""
    check = "sbatch takes such a job"
    if seen.refusal is None:
        return ok(check, "sbatch --test-only")
    return problem(check, seen.refusal, "change what launcher.* asks for: account, gpus, memory")


def time_limit(seen: Seen, need: Need) -> Finding:
    """The partition allows the time that is asked for (else jobs may wait for ever)."""
    check, partition = "time limit", _partition(seen, need)
    most = minutes(partition.get("MaxTime", "UNLIMITED"))
    if need.minutes > most:
        said = f"{need.minutes} minutes asked, {partition['PartitionName']} allows {most:g}"
        return problem(check, said, f"launcher.minutes={most:g}: cells are requeued and go on")
    return ok(check, f"{need.minutes} minutes of {partition.get('MaxTime')}")


def notice(seen: Seen, need: Need) -> Finding:
    """A job that meets its time limit has the time to save."""
    check, takes = "time to save", need.save_seconds
    if takes is None:
        return ok(check, f"{need.notice_seconds} s before the time limit; need not measured")
    if takes > need.notice_seconds:
        said = f"a step and a checkpoint take about {takes:.0f} s, a job is told to save only "
        said += f"{need.notice_seconds} s before its time limit: work since the last one is lost"
        return warning(check, said, f"launcher.signal_seconds={math.ceil(2 * takes)}")
    return ok(check, f"{need.notice_seconds} s before the time limit, about {takes:.0f} s needed")


def gpus(seen: Seen, need: Need) -> Finding:
    """GPUs are asked for where runs use them, and only there."""
    check = "GPUs asked for"
    if need.idle:
        return warning(check, need.idle, "let launcher.gpus_per_node and runtime.device agree")
    return ok(check, "as many as runs use")


def arrays(seen: Seen, need: Need) -> Finding:
    """How many arrays the jobs make."""
    check, longest = "array limit", number(seen.config.get("MaxArraySize"), 1001)
    if need.jobs > max(longest, 1):
        calls = math.ceil(need.jobs / max(longest, 1))
        said = f"{need.jobs} jobs make {calls} arrays: MaxArraySize={longest}"
        return warning(check, said, "launcher.pack=<cells a job>; it works as it is, but slower")
    return ok(check, f"{need.jobs} jobs in one array (MaxArraySize={longest})")


def queue_room(seen: Seen, need: Need) -> Finding:
    """How many jobs the queue takes."""
    check = "job limit"
    limits = {"MaxSubmitJobs": seen.most_submitted}
    limits["MaxJobCount"] = number(seen.config.get("MaxJobCount")) or None
    for name, most in limits.items():
        if most is not None and need.jobs + 1 > most:  # and who follows up
            return warning(check, f"{need.jobs} jobs and a follow-up: {name}={most}", FEWER)
    return ok(check, ", ".join(f"{k}={v}" for k, v in limits.items() if v) or "none known")


def requeue(seen: Seen, need: Need) -> Finding:
    """Jobs may be put back into the queue."""
    check = "requeue"
    if seen.config.get("JobRequeue") == "0":
        said = "JobRequeue=0: jobs are requeued only where each asks for it, as ours do"
        return warning(check, said, "doctor --submit proves it; else ask for JobRequeue=1")
    return ok(check, f"JobRequeue={seen.config.get('JobRequeue')}")


def preemption(seen: Seen, need: Need) -> Finding:
    """Whether other jobs push ours out; what then becomes of them, and how much time they get."""
    check, ours = "preemption", _partition(seen, need)
    if not _preempted(seen, ours):
        return ok(check, "nothing preempts these jobs")
    mode = set(_mode(seen, ours).split(","))
    mend = f"a partition that nothing preempts; runtime.checkpoint_seconds (now {_ckpt(need)})"
    if "REQUEUE" not in mode:
        becomes = "suspended: their cells stand still" if "SUSPEND" in mode else "cancelled"
        return warning(check, f"preempted jobs are {becomes} (PreemptMode={_mode(seen, ours)})",
                       f"{mend}; the follow-up submits them again")  # fmt: skip
    grace, takes = number(ours.get("GraceTime")), need.save_seconds
    if grace < max(takes or 0.0, 1.0):
        needs = "" if takes is None else f", a step and a checkpoint take about {takes:.0f} s"
        said = f"preempted jobs get GraceTime={grace} s{needs}: work since the last one is lost"
        return warning(check, said, f"a longer GraceTime, {mend}")
    return ok(check, f"requeued after a signal and GraceTime={grace} s")


def memory(seen: Seen, need: Need) -> Finding:
    """How a job ended can be asked for long enough."""
    check, age = "states of ended jobs", number(seen.config.get("MinJobAge"), 300)
    if seen.config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return ok(check, "accounting keeps them")
    if age < LEAST_MEMORY_SECONDS:
        said = f"no accounting, and the controller forgets them after {age} s (MinJobAge)"
        return warning(check, said, "why a job died may stay unknown; ask for MinJobAge=300")
    return ok(check, f"no accounting; the controller keeps them for {age} s")


CHECKS: tuple[Callable[[Seen, Need], Finding], ...] = (
    nodes_up,
    accepted,
    time_limit,
    notice,
    gpus,
    arrays,
    queue_room,
    requeue,
    preemption,
    memory,
)


def _partition(seen: Seen, need: Need) -> Mapping[str, str]:
    found = seen.partition(need)
    assert found is not None, "checked before"
    return found


def _preempted(seen: Seen, ours: Mapping[str, str]) -> bool:
    kind = seen.config.get("PreemptType", "preempt/none")
    if kind.endswith("/none") or _mode(seen, ours) == "OFF":
        return False
    if kind.endswith("/qos"):
        return True
    tier = number(ours.get("PriorityTier"), 1)
    return any(number(p.get("PriorityTier"), 1) > tier for p in seen.partitions.values())


def _mode(seen: Seen, ours: Mapping[str, str]) -> str:
    by_partition = seen.config.get("PreemptType", "").endswith("/partition_prio")
    whole = seen.config.get("PreemptMode", "OFF")
    return ours.get("PreemptMode", whole) if by_partition else whole


def _ckpt(need: Need) -> str:
    return f"{need.checkpoint_seconds:g}"


# ---- asking --------------------------------------------------------------------------------------


def _most_submitted(config: Mapping[str, str]) -> int | None:
    import getpass

    if not config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return None
    user = f"user={getpass.getuser()}"
    return least(_said("sacctmgr", "-nP", "show", "assoc", user, "format=MaxSubmitJobs"))


def _said(*words: str) -> list[str]:
    done = ask(*words)
    return done.stdout.splitlines() if done.returncode == 0 else []
