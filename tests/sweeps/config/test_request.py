"""Parsing of a command line: which key belongs to what, and what is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import request
from sweeps.config.request import SweepRequest
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.launchers.sbatch import build_sbatch_options
from tests.helpers import ROOT
from uniclip.errors import UserError

ABLATION = "ablation=components"
SLURM = (ABLATION, "launcher=slurm")
SLURM_PAGE = ROOT / "docs" / "slurm.md"


def parse(*words: str) -> SweepRequest:
    return request.parse_request([ABLATION, *words])


def assert_refused(match: str, *words: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        request.parse_request(list(words))
    assert "\n" not in str(error.value)


def test_the_defaults_of_a_sweep() -> None:
    sweep_request = parse()
    assert sweep_request.settings == SweepConfig()
    assert sweep_request.plan_request.seeds == (0, 1, 2, 3, 4)
    assert sweep_request.plan_request.budget == "quick"
    assert sweep_request.plan_request.overrides == sweep_request.plan_request.group_choices == {}
    assert sweep_request.plan_request.arms is None
    assert sweep_request.store.root == Path("store").resolve()


def test_parameters_of_the_launcher_are_replaced_and_extended() -> None:
    slurm = ("launcher=slurm", "launcher.additional_parameters={reservation: x}")
    assert parse(*slurm).settings.launcher.additional_parameters == {"reservation": "x"}
    more = parse(*slurm, "launcher.additional_parameters.comment=y").settings.launcher
    assert more.additional_parameters == {"reservation": "x", "comment": "y"}
    assert {"--reservation=x", "--comment=y"} <= set(build_sbatch_options(more, 1))
    assert_refused(
        "unknown key 'launcher.additional_parameters.a'",
        ABLATION,
        "launcher.additional_parameters.a=1",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["timeout_min=4"],
        ["timeout_min=2", "signal_delay_s=59"],
        ["signal_delay_s=14339"],
    ],
)
def test_a_signal_that_leaves_time_to_work_is_accepted(words: list[str]) -> None:
    sweep_request = parse("launcher=slurm", *(f"launcher.{word}" for word in words))
    assert isinstance(sweep_request.settings.launcher, SlurmLauncherConfig)


def test_the_settings_on_the_page_about_slurm_survive_a_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", "/of/this/machine")
    words = re.findall(r" ('launcher\..*')$", SLURM_PAGE.read_text(), re.MULTILINE)
    launchers = []
    for word in words:
        shell = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, text=True)
        launchers.append(parse("launcher=slurm", shell.stdout).settings.launcher)
    assert launchers == [
        SlurmLauncherConfig(additional_parameters={"reservation": "x"}),
        SlurmLauncherConfig(setup=("module load cuda",)),
        SlurmLauncherConfig(
            setup=(
                "srun --ntasks-per-node=1 cp -a /shared/data $TMPDIR",
                "export UNICLIP_STAGED=/shared/data:$TMPDIR/data",
            )
        ),
    ]


def test_each_key_goes_where_it_belongs(tmp_path: Path) -> None:
    sweep_request = parse(
        "data=scenes", "budget=smoke", "launcher.max_workers=3", f"store={tmp_path}",
        "train.steps=5", "seeds=[4]",
        "arms=[full]", "retry=failed", "outdated=rerun", "runtime.num_workers=1",
    )  # fmt: skip
    assert sweep_request.plan_request.group_choices == {"data": "scenes", "budget": "smoke"}
    assert sweep_request.plan_request.overrides == {"train.steps": 5, "runtime.num_workers": 1}
    assert sweep_request.settings == SweepConfig(
        seeds=(4,), arms=("full",), launcher=LocalLauncherConfig(max_workers=3),
        store=str(tmp_path), retry="failed", outdated="rerun",
    )  # fmt: skip
    assert sweep_request.store.root == tmp_path
    assert sweep_request.plan_request.budget == "smoke"


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["store=2024"], "store", "2024"),
        (["store=/a(1)/你 #&;!,='st"], "store", "/a(1)/你 #&;!,='st"),
        (["launcher=slurm", "launcher.account=1234"], "account", "1234"),
        (["launcher=slurm", "launcher.partition=a,b"], "partition", "a,b"),
        (["launcher=slurm", "launcher.qos=1e3"], "qos", "1e3"),
        (["arms=[1,true]"], "arms", ("1", "true")),
    ],
)
def test_settings_that_hold_text_take_any_word(words: list[str], key: str, value: Any) -> None:
    settings = parse(*words).settings
    assert getattr(settings if hasattr(settings, key) else settings.launcher, key) == value


def test_columns_of_a_table_may_be_named_by_numbers_or_in_any_script() -> None:
    words = ["data=csv", "data.caption_column=1", "data.label_column=null", "data.path=a[1]/ü.csv"]
    assert parse(*words, "data.image_column=標題").plan_request.overrides == {
        "data.caption_column": "1",
        "data.label_column": None,
        "data.path": "a[1]/ü.csv",
        "data.image_column": "標題",
    }


@pytest.mark.parametrize(
    ("word", "seeds"),
    [("seeds=1", (0,)), ("seeds=4", (0, 1, 2, 3)), ("seeds=[3,7]", (3, 7)), ("seeds=[0]", (0,))],
)
def test_seeds_are_a_number_or_a_list(word: str, seeds: tuple[int, ...]) -> None:
    assert parse(word).plan_request.seeds == seeds


def test_an_ablation_can_have_seeds_of_its_own() -> None:
    words = ["ablation=heads", "data=scenes"]
    for more, seeds in (
        ((), (100, 101, 102, 103, 104)),
        (("seeds=2",), (100, 101)),
        (("seeds=[5]",), (5,)),
    ):
        sweep_request = request.parse_request([*words, *more])
        assert sweep_request.plan_request.seeds == seeds


@pytest.mark.parametrize(("budget", "count"), [("smoke", 2), ("quick", 5), ("study", 5)])
def test_a_budget_sets_the_number_of_seeds(budget: str, count: int) -> None:
    assert len(parse(f"budget={budget}").plan_request.seeds) == count
    assert len(parse(f"budget={budget}", "seeds=1").plan_request.seeds) == 1


@pytest.mark.parametrize(
    "word",
    [
        "seeds=0", "seeds=-1", "seeds=[]", "seeds=[1,1]", "seeds=[-1]", "seeds=1.5", "seeds=true",
        "seeds=many", "seeds=null", "seeds=[1,x]", "seeds=nan", "seeds=1000000000000",
    ],
)  # fmt: skip
def test_invalid_seeds_are_refused(word: str) -> None:
    assert_refused("seeds", ABLATION, word)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), r"ablation= is missing: choose from awareness, components"),
        (("train.steps=3",), r"ablation= is missing"),
        (("ablation=truht",), r"did you mean truth"),
        (
            (ABLATION, "lancher.max_workers=3"),
            r"'lancher\.max_workers': did you mean launcher\.max_workers",
        ),
        ((ABLATION, "launcher.workers=3"), r"did you mean launcher\.max_workers"),
        ((ABLATION, "launcher.max_workers=0"), r"launcher\.max_workers must be at least 1"),
        ((ABLATION, "launcher.max_workers=-2"), r"launcher\.max_workers must be at least 1"),
        ((ABLATION, "launcher=slrum"), r"unknown launcher 'slrum'"),
        ((ABLATION, "launcher.name=slurm"), r"launcher"),
        ((ABLATION, "data.name=scenes"), r"data\.name is chosen with data="),
        ((ABLATION, "method.name=clip"), r"method\.name is chosen with method="),
        ((ABLATION, "sedes=3"), r"unknown key 'sedes': did you mean seeds"),
        ((ABLATION, "ablatoin=truth"), r"unknown key 'ablatoin': did you mean ablation"),
        ((ABLATION, "retry=all"), r"unknown retry 'all': choose from"),
        ((ABLATION, "outdated=rerunn"), r"unknown outdated 'rerunn': did you mean rerun"),
        ((ABLATION, "arms=full"), r"arms must be a list or null, got 'full': write \[full\]"),
        ((ABLATION, "seeds=3.5"), r"seeds must be a whole number or a list, got 3\.5"),
        ((ABLATION, "seeds=[1,1]"), r"seeds=\[1,1\]: give .* a list of different seeds"),
        ((ABLATION, "store=[a]"), r"store must be text"),
        ((ABLATION, "store="), r"store= is empty: name a folder"),
        ((ABLATION, "seed=3"), r"seed= is set by the sweep: write seeds="),
        ((ABLATION, "stream=1"), r"stream= is set by arms"),
        ((ABLATION, "train=3"), r"train is a section"),
        ((ABLATION, "train={steps: 3}"), r"train is a section"),
        (
            (*SLURM, "launcher.timeout_min=3"),
            r"signal_delay_s=120 leaves .* set launcher\.timeout_min=4$",
        ),
        (
            (*SLURM, "launcher.signal_delay_s=14340"),
            r"signalled to stop as it .* launcher\.timeout_min=241$",
        ),
        (
            (*SLURM, "launcher.additional_parameters.hold=false"),
            r"launcher\.additional_parameters\.hold: the launcher sets this",
        ),
        (
            (*SLURM, "launcher.additional_parameters={array: 0-3}"),
            r"launcher\.additional_parameters\.array: the launcher sets this",
        ),
        (
            (*SLURM, "launcher.additional_parameters={dependency: after:7}"),
            r"additional_parameters\.dependency: the launcher sets",
        ),
        (
            (*SLURM, "launcher.additional_parameters={no-requeue: true}"),
            r"additional_parameters\.no-requeue: the launcher sets",
        ),
        (
            (*SLURM, "launcher.additional_parameters={job-name: x}"),
            r"additional_parameters\.job-name: the launcher sets this itself",
        ),
        (
            (*SLURM, "launcher.additional_parameters.time=5"),
            r"launcher\.additional_parameters\.time: set launcher\.timeout_min instead",
        ),
        (
            (*SLURM, "launcher.additional_parameters={ntasks-per-node: 2}"),
            r"set launcher\.tasks_per_node instead",
        ),
        ((ABLATION, "design=leave_out"), r"unknown design 'leave_out': did you mean leave_one_out"),
        ((ABLATION, "design=listed"), r"reference: unknown arm 'full': choose from "),
        (("ablation=methods", "design=crossed"), r"a crossed design needs components"),
        ((ABLATION, "resolution=6"), r"resolution must be at most 5"),
        (("design=shapley", "train.steps=2,4"), r"design= needs ablation="),
        ((ABLATION, "conf_dir=/no/such/folder"), r"conf_dir=/no/such/folder is not a folder"),
        ((ABLATION, ABLATION), r"ablation is given twice"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(words: tuple[str, ...], match: str) -> None:
    assert_refused(match, *words)


def test_a_user_folder_adds_options_components_and_ablations(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "wide.yaml").write_text("embed_dim: 256\n")
    (tmp_path / "components.yaml").write_text(
        "film: {label: F, reason: R, off_overrides: {method.fusion: concat}, "
        "manipulation_check: {kind: none}}\n"
    )
    (tmp_path / "ablation" / "custom.yaml").write_text(
        "title: Custom\ndesign: leave_one_out\ncomponents: [film, awareness]\n"
        "groups: {data: scenes, budget: smoke}\nprimary_metrics: {scenes: minimal.side}\n"
    )
    sweep_request = request.parse_request(["ablation=custom", "model=wide", f"conf_dir={tmp_path}"])
    assert sweep_request.plan_request.ablation.title == "Custom"
    assert {"film", "awareness"} <= set(sweep_request.plan_request.components)
    assert sweep_request.plan_request.budget == "smoke"
    assert len(sweep_request.plan_request.seeds) == 2, "the budget of the ablation"
    composed = sweep_request.plan_request.compose({"data": "scenes", "model": "wide"})
    assert composed["model"]["embed_dim"] == 256
    assert composed["data"]["name"] == "scenes"


def test_a_user_folder_may_contain_the_store(tmp_path: Path) -> None:
    (tmp_path / "store" / "runs").mkdir(parents=True)
    sweep_request = request.parse_request(
        [ABLATION, f"conf_dir={tmp_path}", f"store={tmp_path / 'store'}"]
    )
    assert sweep_request.store.root == tmp_path / "store"


def test_the_design_of_the_command_line_replaces_that_of_the_ablation() -> None:
    words = ["ablation=components", "design=leave_one_out", "components=[mp_nce,awareness]"]
    crossed = request.parse_request(words[:1]).build_plan().plan
    plan = request.parse_request(words).build_plan().plan
    assert plan.design == "leave_one_out"
    assert [arm.name for arm in plan.arms if arm.role == "crossed"] == [
        "full", "no-mp-nce", "no-awareness",
    ]  # fmt: skip
    assert plan.sweep_id != crossed.sweep_id
    runs = {(cell.arm, cell.seed): cell.run_id for cell in crossed.cells}
    assert all(runs[cell.arm, cell.seed] == cell.run_id for cell in plan.cells)
    assert plan.overrides == tuple(words)


def test_each_composed_configuration_is_a_fresh_copy() -> None:
    compose = parse().plan_request.compose
    compose({})["train"]["steps"] = -1
    assert compose({})["train"]["steps"] > 0
