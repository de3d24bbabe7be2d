"""What the words of a command line ask for: whose key is whose, and what is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sweeps.config import request, schema
from sweeps.config.request import SweepRequest
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.doctor import doctor
from tests.helpers import ROOT
from uniclip.errors import UserError

ABLATION = "ablation=components"
SLURM = (ABLATION, "launcher=slurm")
README = ROOT / "README.md"


def asked(*words: str) -> SweepRequest:
    return request.parse_request([ABLATION, *words])


def refused(match: str, *words: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        request.parse_request(list(words))
    assert "\n" not in str(caught.value)


def test_the_defaults_of_a_sweep() -> None:
    it = asked()
    assert it.settings == SweepConfig()
    assert it.plan_request.seeds == (0, 1, 2)
    assert it.plan_request.budget == "quick"
    assert it.plan_request.overrides == it.plan_request.group_choices == {}
    assert it.plan_request.arms is None
    assert it.store.root == Path("store").resolve()


def test_a_launchers_own_words_are_replaced_and_extended() -> None:
    slurm = ("launcher=slurm", "launcher.additional_parameters={reservation: x}")
    assert asked(*slurm).settings.launcher.additional_parameters == {"reservation": "x"}
    more = asked(*slurm, "launcher.additional_parameters.comment=y").settings.launcher
    assert more.additional_parameters == {"reservation": "x", "comment": "y"}
    assert {"--reservation=x", "--comment=y"} <= set(doctor.build_sbatch_options(more, 1))
    refused(
        "unknown key 'launcher.additional_parameters.a'",
        ABLATION,
        "launcher.additional_parameters.a=1",
    )


@pytest.mark.parametrize(
    "words", [["minutes=4"], ["minutes=2", "signal_seconds=59"], ["signal_seconds=14339"]]
)
def test_a_notice_that_leaves_time_to_work_is_taken(words: list[str]) -> None:
    it = asked("launcher=slurm", *(f"launcher.{word}" for word in words))
    assert isinstance(it.settings.launcher, SlurmLauncherConfig)


def test_all_that_the_launcher_asks_for_is_its_own_or_has_a_key(tmp_path: Path) -> None:
    """What it asks of sbatch may not be asked for a second time by `launcher.additional_parameters`."""
    every = SlurmLauncherConfig(
        partition="p", account="a", qos="q", constraint="c", gres="gpu", gpus_per_node=1, mem_gb=1
    )
    options = {o.split("=")[0].removeprefix("--") for o in doctor.build_sbatch_options(every, 1)}
    assert {name.replace("-", "_") for name in options} == {
        *schema.SBATCH_TO_LAUNCHER_KEY,
        "requeue",
    }
    keys = set(SlurmLauncherConfig.__dataclass_fields__)
    assert set(schema.SBATCH_TO_LAUNCHER_KEY.values()) < keys


@pytest.mark.parametrize(
    ("launcher", "device", "said"),
    [
        (SlurmLauncherConfig(), "cpu", ""),
        (SlurmLauncherConfig(gres="tmpfs:8G"), "cpu", ""),
        (SlurmLauncherConfig(gpus_per_node=8), "cuda", ""),
        (SlurmLauncherConfig(gres="tmpfs:8G,gpu:a100:1"), "cuda:0", ""),
        (SlurmLauncherConfig(gres="shard:1"), "cuda", ""),
        (SlurmLauncherConfig(additional_parameters={"gpus": 4}), "cuda", ""),
        (
            SlurmLauncherConfig(gpus_per_node=8),
            "cpu",
            "8 GPUs a node .* runtime.device=cpu leaves them",
        ),
        (
            SlurmLauncherConfig(gres="gpu:a100:2"),
            "cpu",
            "2 GPUs a node .* runtime.device=cpu leaves them",
        ),
        (SlurmLauncherConfig(gres="gpu"), "cpu", "1 GPUs a node .* runtime.device=cpu leaves them"),
        (
            SlurmLauncherConfig(gres="tmp,shard:1"),
            "cpu",
            "shard:1 is asked for, .* leaves them idle",
        ),
        (
            SlurmLauncherConfig(additional_parameters={"gpus": 4}),
            "cpu",
            "gpus is asked for, .* leaves them idle",
        ),
        (SlurmLauncherConfig(), "cuda", "runtime.device=cuda, and no GPU is asked for"),
        (SlurmLauncherConfig(gres="tmpfs:8G"), "cuda", "no GPU is asked for"),
        (SlurmLauncherConfig(gres="gpu:4"), "cuda", "4 GPUs .*tasks_per_node=1 uses 1"),
    ],
)
def test_gpus_that_would_stand_idle_or_lack_are_told(
    launcher: SlurmLauncherConfig, device: str, said: str
) -> None:
    assert re.search(said or "^$", schema.describe_gpu_mismatch(launcher, device))


def test_the_readmes_words_for_slurm_survive_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/of/this/machine")
    words = re.findall(r"^    ('launcher\..*')$", README.read_text(), re.MULTILINE)
    launchers = []
    for word in words:
        said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, text=True)
        launchers.append(asked("launcher=slurm", said.stdout).settings.launcher)
    assert launchers == [
        SlurmLauncherConfig(additional_parameters={"reservation": "x"}),
        SlurmLauncherConfig(setup=("module load cuda",)),
        SlurmLauncherConfig(
            setup=(
                "srun --ntasks-per-node=1 cp -r /shared/data $TMPDIR",
                "export UNICLIP_STAGED=/shared/data:$TMPDIR/data",
            )
        ),
    ]


def test_words_go_where_they_belong(tmp_path: Path) -> None:
    it = asked(
        "data=scenes", "budget=smoke", "launcher.max_workers=3", f"store={tmp_path}", "train.steps=5",
        "seeds=[4]", "arms=[full]", "retry=failed", "outdated=rerun", "runtime.num_workers=1",
    )  # fmt: skip
    assert it.plan_request.group_choices == {"data": "scenes", "budget": "smoke"}
    assert it.plan_request.overrides == {"train.steps": 5, "runtime.num_workers": 1}
    assert it.settings == SweepConfig(
        seeds=(4,), arms=("full",), launcher=LocalLauncherConfig(max_workers=3), store=str(tmp_path),
        retry="failed", outdated="rerun",
    )  # fmt: skip
    assert it.store.root == tmp_path
    assert it.plan_request.budget == "smoke"


@pytest.mark.parametrize(
    ("word", "seeds"),
    [("seeds=1", (0,)), ("seeds=4", (0, 1, 2, 3)), ("seeds=[3,7]", (3, 7)), ("seeds=[0]", (0,))],
)
def test_seeds_are_a_number_or_a_list(word: str, seeds: tuple[int, ...]) -> None:
    assert asked(word).plan_request.seeds == seeds


@pytest.mark.parametrize(("budget", "count"), [("smoke", 2), ("quick", 3), ("study", 5)])
def test_a_budget_brings_its_seeds(budget: str, count: int) -> None:
    assert len(asked(f"budget={budget}").plan_request.seeds) == count
    assert len(asked(f"budget={budget}", "seeds=1").plan_request.seeds) == 1


@pytest.mark.parametrize(
    "word",
    [
        "seeds=0", "seeds=-1", "seeds=[]", "seeds=[1,1]", "seeds=[-1]", "seeds=1.5", "seeds=true",
        "seeds=many", "seeds=null", "seeds=[1,x]", "seeds=nan", "seeds=1000000000000",
    ],
)  # fmt: skip
def test_other_seeds_are_refused(word: str) -> None:
    refused("seeds", ABLATION, word)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), r"ablation= is missing: choose from awareness, components"),
        (("train.steps=3",), r"ablation= is missing"),
        (("ablation=truht",), r"did you mean truth"),
        ((ABLATION, "lancher.max_workers=3"), r"'lancher\.max_workers': did you mean launcher\.max_workers"),
        ((ABLATION, "launcher.slot=3"), r"did you mean launcher\.max_workers"),
        ((ABLATION, "launcher.max_workers=0"), r"launcher\.max_workers must be at least 1"),
        ((ABLATION, "launcher.max_workers=-2"), r"launcher\.max_workers must be at least 1"),
        ((ABLATION, "launcher=slrum"), r"unknown launcher 'slrum'"),
        ((ABLATION, "launcher.name=slurm"), r"launcher"),
        ((ABLATION, "data.name=scenes"), r"data\.name is chosen with data="),
        ((ABLATION, "method.name=clip"), r"method\.name is chosen with method="),
        ((ABLATION, "sedes=3"), r"unknown key 'sedes': did you mean seeds"),
        ((ABLATION, "ablatoin=truth"), r"unknown key 'ablatoin': did you mean ablation"),
        ((ABLATION, "retry=all"), r"unknown retry 'all': choose from"),
        ((ABLATION, "outdated=rerunn"), r"unknown stale 'rerunn': did you mean rerun"),
        ((ABLATION, "arms=full"), r"arms must be a list, got 'full'"),
        ((ABLATION, "arms=[1]"), r"arms\[0\] must be text"),
        ((ABLATION, "store=[a]"), r"store must be text"),
        ((ABLATION, "seed=3"), r"seed= is set by the sweep: write seeds="),
        ((ABLATION, "stream=1"), r"stream= is set by arms"),
        ((ABLATION, "train=3"), r"train is a section"),
        ((ABLATION, "train={steps: 3}"), r"train is a section"),
        (
            (*SLURM, "launcher.timeout_min=3"),
            r"signal_seconds=120 leaves .* say launcher\.minutes=4$",
        ),
        (
            (*SLURM, "launcher.signal_delay_s=14340"),
            r"told to stop as it .* launcher\.minutes=241$",
        ),
        (
            (*SLURM, "launcher.additional_parameters.hold=false"),
            r"launcher\.extra\.hold: the launcher sets this",
        ),
        (
            (*SLURM, "launcher.additional_parameters={array: 0-3}"),
            r"launcher\.extra\.array: the launcher sets this",
        ),
        (
            (*SLURM, "launcher.additional_parameters={dependency: after:7}"),
            r"extra\.dependency: the launcher sets",
        ),
        (
            (*SLURM, "launcher.additional_parameters={no-requeue: true}"),
            r"extra\.no-requeue: the launcher sets",
        ),
        (
            (*SLURM, "launcher.additional_parameters={job-name: x}"),
            r"extra\.job-name: the launcher sets this itself",
        ),
        (
            (*SLURM, "launcher.additional_parameters.time=5"),
            r"launcher\.extra\.time: say launcher\.minutes instead",
        ),
        (
            (*SLURM, "launcher.additional_parameters={ntasks-per-node: 2}"),
            r"say launcher\.tasks_per_node instead",
        ),
        ((ABLATION, "conf_dir=/no/such/folder"), r"conf_dir=/no/such/folder is not a folder"),
        ((ABLATION, ABLATION), r"ablation is given twice"),
    ],
)
def test_other_words_are_refused_in_one_line(words: tuple[str, ...], match: str) -> None:
    refused(match, *words)


def test_a_users_folder_brings_choices_components_and_ablations(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "wide.yaml").write_text("embedding: 256\n")
    (tmp_path / "components.yaml").write_text(
        "film: {label: F, reason: R, off: {method.fusion: concat}, witness: {kind: none}}\n"
    )
    (tmp_path / "ablation" / "mine.yaml").write_text(
        "title: Mine\ndesign: leave_one_out\ncomponents: [film, awareness]\n"
        "base: {data: scenes, budget: smoke}\nprimary: {scenes: minimal.side}\n"
    )
    it = request.parse_request(["ablation=mine", "model=wide", f"conf_dir={tmp_path}"])
    assert it.plan_request.ablation.title == "Mine"
    assert {"film", "awareness"} <= set(it.plan_request.components)
    assert it.plan_request.budget == "smoke"
    assert len(it.plan_request.seeds) == 2, "the budget of the ablation's base"
    composed = it.plan_request.compose({"data": "scenes", "model": "wide"})
    assert composed["model"]["embed_dim"] == 256
    assert composed["data"]["name"] == "scenes"


def test_a_users_protocol_and_list_stand_for_what_they_say(tmp_path: Path) -> None:
    for group, text in {
        "protocol": 'templates: {dtd: ["a {}"]}',
        "benchmark": "- dtd\n- pets",
    }.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text)
    words = [ABLATION, "protocol=mine", "benchmark=[scenes,mine,bench14]", f"conf_dir={tmp_path}"]
    values = request.parse_request(words).plan_request.overrides
    assert values["runtime.protocol"] == {"name": "mine", "templates": {"dtd": ["a {}"]}}
    assert values["benchmark"] == ["scenes", "dtd", "oxford_pets", "bench14"]
    refused("unknown protocol 'mine'", ABLATION, "protocol=mine")


def test_a_users_folder_may_hold_her_store_too(tmp_path: Path) -> None:
    (tmp_path / "store" / "runs").mkdir(parents=True)
    it = request.parse_request([ABLATION, f"conf_dir={tmp_path}", f"store={tmp_path / 'store'}"])
    assert it.store.root == tmp_path / "store"


def test_what_is_composed_is_fresh_each_time() -> None:
    compose = asked().plan_request.compose
    compose({})["train"]["steps"] = -1
    assert compose({})["train"]["steps"] > 0
