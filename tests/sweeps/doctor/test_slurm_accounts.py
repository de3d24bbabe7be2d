"""Accounts, QOS and their limits, as sacctmgr and scontrol print them."""

from __future__ import annotations

import math

import pytest

from sweeps.doctor.slurm_accounts import (
    Accounting,
    JobLimits,
    find_exceeded_limit,
    find_forbidden_use,
    list_limits,
    parse_associations,
    parse_qos_limits,
    parse_time_limit_minutes,
)
from sweeps.doctor.slurm_nodes import NodeRequest

ASSOCIATIONS = "lab||long,normal|1-00:00:00|gres/gpu=2,node=1\nteaching|gpu|normal||"
QOS = "normal||\nlong|2-00:00:00|cpu=64,mem=64G"
ACCOUNTING = Accounting(
    has_database=True,
    associations=parse_associations(ASSOCIATIONS.splitlines()),
    qos_limits=parse_qos_limits(QOS.splitlines()),
)
OPEN = {"PartitionName": "gpu", "AllowAccounts": "ALL", "AllowQos": "ALL"}


def test_time_limits_are_parsed() -> None:
    limits = ["UNLIMITED", "", "1-12:00:00", "00:30:00", "90:00", "00:00:30"]
    minutes = [math.inf, math.inf, 2160, 30, 90, 0.5]
    assert list(map(parse_time_limit_minutes, limits)) == minutes


@pytest.mark.parametrize(
    ("partition", "accounting", "account", "qos", "message"),
    [
        ({}, ACCOUNTING, "lab", "long", None),
        ({}, ACCOUNTING, None, None, None),
        ({}, ACCOUNTING, "physics", None, "account physics: yours are lab, teaching"),
        ({}, ACCOUNTING, "teaching", "long", "QOS long: yours are normal"),
        ({}, ACCOUNTING, None, "vip", "QOS vip: yours are long, normal"),
        ({}, Accounting(), "physics", "vip", None),
        ({"AllowAccounts": "lab"}, ACCOUNTING, "lab", None, None),
        ({"AllowAccounts": "lab"}, ACCOUNTING, None, None, None),
        ({"AllowAccounts": "x,y"}, ACCOUNTING, "lab", None, "partition gpu allows x,y"),
        ({"AllowAccounts": "lab"}, Accounting(), "lab", None, "this cluster has no accounting"),
        (
            {"AllowQos": "long"},
            ACCOUNTING,
            "lab",
            "normal",
            "qos normal: partition gpu allows long",
        ),
        ({"DenyAccounts": "lab"}, ACCOUNTING, "lab", None, "partition gpu denies lab"),
        ({"DenyQos": "long"}, ACCOUNTING, None, "long", "partition gpu denies long"),
    ],
)
def test_what_may_not_be_used_is_named(
    partition: dict[str, str],
    accounting: Accounting,
    account: str | None,
    qos: str | None,
    message: str | None,
) -> None:
    violation = find_forbidden_use({**OPEN, **partition}, accounting, account, qos)
    if message is None:
        assert violation is None
    else:
        assert violation is not None
        assert message in violation[0]
        assert violation[1] in ("launcher.account=<name>", "launcher.qos=<name>")


@pytest.mark.parametrize(
    ("partition", "account", "qos", "labels"),
    [
        ("gpu", "lab", None, ["account lab"]),
        ("gpu", "lab", "long", ["account lab", "QOS long"]),
        ("gpu", None, None, []),
        ("cpu", None, None, ["account lab"]),
        ("cpu", "teaching", "normal", ["QOS normal"]),
    ],
)
def test_limits_are_those_of_the_account_and_the_qos(
    partition: str, account: str | None, qos: str | None, labels: list[str]
) -> None:
    """The default account is not known: with several associations none is assumed."""
    fields = {"PartitionName": partition, "QoS": "N/A"}
    assert [x.label for x in list_limits(ACCOUNTING, fields, account, qos)] == labels
    limits = list_limits(ACCOUNTING, {**fields, "QoS": "long"}, account, "normal")
    assert limits[-1].label == "QOS long"


LIMITS = [
    JobLimits(label="account lab", max_minutes=60, max_resources="gres/gpu=2,node=2"),
    JobLimits(label="QOS long", max_resources="cpu=64,mem=64G,billing=9"),
]


@pytest.mark.parametrize(
    ("request_", "minutes", "violation"),
    [
        (NodeRequest(nodes=2, gpus={"": 1}, cpus=32, memory_mb=32768.0), 60, None),
        (NodeRequest(), 61, ("61 minutes requested, account lab allows 60", "timeout_min=60")),
        (NodeRequest(nodes=3), 9, ("node=3 requested, account lab allows 2", "nodes")),
        (NodeRequest(gpus={"a100": 3}), 9, ("gres/gpu=3 requested", "gpus_per_node")),
        (NodeRequest(nodes=2, gpus={"": 2}), 9, ("gres/gpu=4 requested", "gpus_per_node")),
        (NodeRequest(cpus=65), 9, ("cpu=65 requested, QOS long allows 64", "cpus_per_task")),
        (NodeRequest(memory_mb=65537.0), 9, ("mem=65537 requested", "mem_gb")),
    ],
)
def test_a_limit_that_a_job_exceeds_is_named(
    request_: NodeRequest, minutes: int, violation: tuple[str, str] | None
) -> None:
    exceeded = find_exceeded_limit(LIMITS, request_, minutes)
    if violation is None:
        assert exceeded is None
    else:
        assert exceeded is not None
        assert exceeded[0].startswith(violation[0])
        assert exceeded[1].endswith(violation[1])
