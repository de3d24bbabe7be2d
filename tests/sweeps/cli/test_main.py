"""The command line: bad input gets one line and status 2; reading is light and writes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations.plan import plan as plans
from sweeps.claims import process
from sweeps.cli import main
from sweeps.config import request
from uniclip.identity import ROOT, compute_training_hash
from uniclip.io import atomic
from uniclip.store import Outcome, Plan, Store, json_io

WORDS = ["ablation=components", "data=scenes", "budget=smoke"]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plans.build_plan(request.parse_request(WORDS).plan_request).plan


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: whatever is written by mistake shows."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> int:
    """The exit status of `sweep.py <words>`."""
    try:
        return main.main(words)
    except SystemExit as left:
        return int(left.code or 0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


CSV = ["ablation=components", "data=csv"]
BAD: list[tuple[list[str], str]] = [
    (["pln"], "unknown verb 'pln': did you mean plan"),
    (["full/0"], "unknown verb"),
    (["plan", *WORDS, "--fast"], "plan has no flag --fast"),
    (["run", *WORDS, "--json"], "run has no flag --json"),
    (["--watch", *WORDS], "run has no flag --watch"),
    (["status", *WORDS, "--watch=3"], "--watch"),
    (["status", *WORDS, "--watch", "--json"], "choose one"),
    (["cancel", *WORDS], "was submitted to Slurm; stop a sweep with Ctrl-C"),
    (["plan", "components"], "plan takes no name, got 'components'"),
    (["plan"], "ablation= is missing: choose from"),
    (["train.steps=3"], "ablation= is missing"),
    (["plan", "ablation=component"], "did you mean components"),
    (["plan", *WORDS, "arms=[no-awarenes]"], "did you mean no-awareness"),
    (["plan", *WORDS, "arms=[]"], "no arm"),
    (["plan", "ablation=components", "data=scene"], "did you mean scenes"),
    (["plan", "ablation=components", "budget=smok"], "did you mean smoke"),
    (["plan", *WORDS, "model=big"], "unknown model 'big'"),
    (["plan", *WORDS, "benchmark=[imagenett]"], "unknown benchmark 'imagenett'"),
    (["plan", *WORDS, "train.step=3"], "did you mean train.steps"),
    (["plan", *WORDS, "train.steps=many"], "train.steps must be a whole number"),
    (["plan", *WORDS, "train.steps=0"], "train.steps must be at least 1"),
    (["plan", *WORDS, "train.learning_rate=nan"], "train.learning_rate must be a finite number"),
    (["plan", *WORDS, "train.learning_rate=inf"], "train.learning_rate must be a finite number"),
    (["plan", *WORDS, "train.adam_betas=[0.9,1]"], "train.adam_betas"),
    (
        ["plan", *WORDS, "method.positive_weights=[1,nan,1]"],
        "method.positive_weights[1] must be a finite number",
    ),
    (["plan", *WORDS, "model.image.options.x=nan"], "model.image.options.x must be a finite"),
    (["plan", *WORDS, "train.steps=3", "train.steps=4"], "train.steps is given twice"),
    (["plan", *WORDS, "seeds=0"], "seeds=0"),
    (["plan", *WORDS, "seeds=[1,1]"], "seeds="),
    (["plan", *WORDS, "launcher.max_workers=0"], "launcher.max_workers must be at least 1"),
    (["plan", *WORDS, "+train.steps=3"], "cannot read '+train.steps=3'"),
    (["plan", *WORDS, "train.steps=1,2"], "several values"),
    (["plan", *WORDS, "train={steps: 3}"], "train is a section"),
    (
        ["plan", *WORDS, "method.augmentation_input=none"],
        "method.augmentation_input is given by you and changed by arm no-",
    ),
    (["plan", *WORDS, "data.name=openmoji"], "data.name is chosen with data="),
    (["plan", *WORDS, "conf_dir=nowhere"], "conf_dir=nowhere is not a folder"),
    (["plan", *WORDS, "plugins=3"], "plugins must be a list such as [my_module], got 3"),
    (["plan", *WORDS, "plugins=null"], "plugins must be a list such as [my_module], got None"),
    (["plan", *CSV], "data.path"),
    (["plan", *CSV, "data.path=none.csv"], "none.csv"),
    (["run", *WORDS, "store=/proc/store"], "store=/proc/store cannot be written"),
    (["status", *WORDS, "store=/etc/passwd"], "/etc/passwd"),
    (["plan", *WORDS, "store=/etc/passwd/x"], "/etc/passwd/x"),
    (["logs", *WORDS, "ful/0"], "did you mean full/0"),
    (["logs", *WORDS, "full/0"], "full/0 has not been run"),
    (["logs", *WORDS], "logs takes one cell"),
    (["why", *WORDS], "why takes one cell or two"),
    (["why", *WORDS, "full/0", "full/9"], "unknown cell 'full/9'"),
    (["retry", *WORDS], "nothing to retry"),
    (["retry", *WORDS, "full/9"], "unknown cell 'full/9'"),
    (["report", *WORDS], "has not been run"),
    (["list", "nothing"], "unknown list 'nothing'"),
    (["tune"], "ablation= is missing: choose from"),
    (["tune", *WORDS, "full"], "tune takes no name, got 'full'"),
    (["tune", *WORDS, "n_trials=0"], "trials must be at least 1, got 0"),
    (["tune", *WORDS, "n_trials=many"], "trials must be a whole number"),
    (["tune", *WORDS, "n_trials=2", "n_trials=3"], "trials is given twice"),
    (["tune", *WORDS, "trails=3"], "unknown key 'trails': did you mean trials"),
    (["tune", *WORDS, "parallel_trials=0"], "at_once must be at least 1"),
    (["tune", *WORDS, "pruner=medain"], "did you mean median"),
    (["tune", *WORDS, "pruner=median"], "set train.validate_every lower"),
    (["tune", *WORDS, "space=optimiser"], "did you mean optimizer"),
    (["tune", *WORDS, "tuning_seeds=0"], "tuning_seeds=0: give a number of at least 1"),
    (["tune", *WORDS, "tuning_seeds=[1,1]"], "tuning_seeds="),
    (["tune", *WORDS, "runtime.stop_fraction=0"], "runtime.stop_fraction must be above 0"),
    (["run", *WORDS, "n_trials=3"], "unknown key 'trials'"),
    (["run", *WORDS, "space=optimizer"], "unknown key 'space'"),
    (["list", "ablations", "models"], "list takes one name"),
    (["list", "models", "train.steps=3"], "list takes no train.steps="),
    (["list", "arms"], "list arms needs ablation="),
    (["gc"], "is not a store"),
    (["gc", "store=.", "--yes"], "is not a store"),
    (["gc", "ablation=components"], "leave out ablation="),
]


@pytest.mark.parametrize("words", [["run", *WORDS], ["plan", *WORDS, "--probe"]])
def test_without_a_slurm_nothing_is_written_for_one(
    words: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert call(*words, "launcher=slurm") == main.EXIT_USER_ERROR
    assert capsys.readouterr().err == (
        "sweep.py: launcher=slurm: there is no sbatch here; use launcher=local\n"
    )
    assert not (here / "store").exists()


@pytest.mark.parametrize(("words", "match"), BAD, ids=[" ".join(w) for w, _ in BAD])
def test_bad_input_is_one_line_status_two_and_nothing_written(
    words: list[str], match: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == main.EXIT_USER_ERROR
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("sweep.py: ")
    assert match in said.err
    assert "hydra" not in said.err.lower()
    assert said.out == ""
    assert files(here) == {}
    assert not (here / "store").exists()


# ---- damage --------------------------------------------------------------------------------------


def finished(store: Store, plan: Plan) -> None:
    """The first cell of the plan trained and judged; the plan on record."""
    run = store.get_run(plan.cells[0].run_id)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.log_path.write_text("hello from the log\n")
    attempt.write_end("trained")
    outcome = Outcome(
        kind="trained", step=9, attempt=1, training_hash=compute_training_hash(), source_hash="s", numerics_class={},
        weights_digest="00", best_step=9, cost={},
    )  # fmt: skip
    run.write_outcome(outcome)
    for name, hash_ in plan.required_evaluations()[run.id].items():
        scores = {"dataset": name, "evaluation": hash_, "protocol": {}, "weights": "00"}
        atomic.write_once(
            run.scores_path(name, hash_), json_io.to_json_bytes({**scores, "scores": []})
        )


def damaged(file: str, store: Store, plan: Plan) -> Path:
    run = store.get_run(plan.cells[0].run_id)
    return {
        "plan": store.get_sweep(plan.sweep_id).path / "plan.json",
        "audit": store.get_sweep(plan.sweep_id).audit_path,
        "outcome": run.path / "outcome.json",
        "claim": run.get_attempt(1).claim_path,
        "ended": run.get_attempt(1).path / "ended.json",
        "scores": next((run.path / "scores").iterdir()),
    }[file]


@pytest.mark.parametrize("text", ["", '{"kind": ', "[]", '{"unheard": 1}'])
@pytest.mark.parametrize(
    ("file", "verb"),
    [
        ("plan", "status"),
        ("plan", "logs"),
        ("outcome", "status"),
        ("outcome", "plan"),
        ("audit", "report"),
    ],  # fmt: skip
)
def test_a_damaged_file_is_named_in_one_line(
    file: str, verb: str, text: str, here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(here / "store")
    finished(store, plan)
    path = damaged(file, store, plan)
    path.write_text(text)
    before = files(here)
    names = ["full/0"] if verb == "logs" else []
    assert call(verb, *WORDS, *names) == main.EXIT_USER_ERROR
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert str(path) in said.err
    assert "damaged" in said.err
    assert files(here) == before


@pytest.mark.parametrize("file", ["claim", "ended"])
def test_a_damaged_claim_or_last_word_is_named(
    file: str, here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(here / "store")
    finished(store, plan)
    (store.get_run(plan.cells[0].run_id).path / "outcome.json").unlink()
    path = damaged(file, store, plan)
    path.write_text("{")
    assert call("status", *WORDS) == main.EXIT_USER_ERROR
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert str(path) in said.err


# ---- what reading says ---------------------------------------------------------------------------


def test_plan_says_for_every_cell_whether_it_would_run_and_why(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(Store(here / "store"), plan)
    before = files(here)
    assert call("plan", *WORDS) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for cell in plan.cells:
        (line,) = (t for t in said.out.splitlines() if t.startswith(f"{cell.name} "))
        assert cell.run_id[:8] in line
        done = cell == plan.cells[0]
        assert ("complete" in line) == done
        assert (" yes " in line) != done
    assert "not measured" in said.out
    assert plan.sweep_id in said.out
    assert files(here) == before


def test_plan_stamps_every_contrast_with_time_and_memory_once_they_are_probed(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in plan.arms:
        slow = 2.0 if arm.name == "clip" else 1.0
        probe = {"arm": arm.name, "device": "cpu"}
        times = {"seconds_per_step": slow, "fixed_seconds": 0.0, "peak_memory_bytes": 4e8 / slow}
        atomic.append_jsonl(
            Store(here / "store").get_sweep(plan.sweep_id).probes_path, {**probe, **times}
        )
    assert call("plan", *WORDS) == 0
    lines = capsys.readouterr().out.splitlines()
    stamped = {c.label: [t for t in lines if t.startswith(f"{c.label}: ")] for c in plan.contrasts}
    assert all(len(told) == 1 for told in stamped.values()), stamped
    (told,) = stamped["UniCLIP against CLIP"]
    steps = plan.base_config["train"]["steps"]
    assert f"seconds a run ({steps:,} against {2 * steps:,}), peak MB (400 against 200)" in told
    (told,) = stamped["UniCLIP against CLIP, the same views"]
    assert "equal in seconds a run, peak MB, samples seen" in told


def test_json_is_for_machines(here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("plan", "status"):
        assert call(verb, *WORDS, "--json") == 0
        records = json.loads(capsys.readouterr().out)
        assert [r["cell"] for r in records] == [c.name for c in plan.cells]
        assert {r["state"] for r in records} == {"planned"}
    assert files(here) == {}


def test_status_advises_on_what_it_shows(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(here / "store")
    finished(store, plan)
    attempt = store.get_run(plan.cells[1].run_id).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: [/nothing] to see")
    assert call("status", *WORDS) == 0
    text = capsys.readouterr().out
    assert "1 failed" in text
    assert "1 complete" in text
    assert "ValueError: [/nothing] to see" in text
    assert "failed: logs, then retry" in text


def test_logs_shows_the_newest_log_and_where_it_is(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(here / "store")
    finished(store, plan)
    cell = plan.cells[0]
    for name in (cell.name, cell.run_id[:8]):
        assert call("logs", *WORDS, name) == 0
        text = capsys.readouterr().out
        assert "hello from the log" in text
        assert str(store.get_run(cell.run_id).get_attempt(1).log_path) in text


def test_why_names_the_keys_in_which_two_cells_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("why", *WORDS, "no-awareness/1") == 0
    text = capsys.readouterr().out
    assert "1 keys differ" in text
    assert "method.augmentation_input" in text
    assert call("why", *WORDS, "full/0", "full/1") == 0
    assert "seed" in capsys.readouterr().out
    assert call("why", *WORDS, "full/0", "full/0") == 0
    assert "the same run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "kind",
    [
        *("ablations", "benchmarks", "budgets", "components", "data", "methods", "models"),
        *("recipes", "spaces"),
    ],
)
def test_list_says_what_there_is_to_choose(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", kind) == 0
    expected = {
        "ablations": {"components", "truth"}, "benchmarks": {"openmoji", "csv", "scenes"},
        "budgets": {"smoke", "quick", "study"}, "data": {"openmoji", "csv", "scenes"},
        "components": {"awareness", "mp_nce", "domain_similarity"}, "models": {"tiny"},
        "methods": {"uniclip", "clip"}, "recipes": {"ours", "published", "published_slip"},
        "spaces": {"optimizer", "schedule"},
    }[kind]  # fmt: skip
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= expected


def test_plan_tells_each_arms_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablation=methods", "budget=smoke", "data=scenes"]
    assert call("plan", *words, "recipe=published") == 0
    said = capsys.readouterr().out
    assert "not a comparison of components" in said
    assert "steps and batch size are the budget's" in said
    for arm in ("uniclip", "unicl", "clip", "slip", "declip"):
        assert re.search(rf"^  {arm} +AdamW, rate ", said, re.M)
    assert call("plan", *words) == 0
    assert "recipe" not in capsys.readouterr().out


def test_list_arms(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "arms", "ablation=components") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("full ")


def test_gc_deletes_only_what_it_says_and_only_when_told(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(here / "store")
    finished(store, plan)
    done, open_ = (store.get_run(c.run_id) for c in plan.cells[:2])
    assert open_.claim_attempt(1, process.make_claim_record({})) is not None
    for run in (done, open_):
        run.get_attempt(1).checkpoints_path.mkdir(parents=True, exist_ok=True)
        (run.get_attempt(1).checkpoints_path / "10.safetensors").write_bytes(b"x" * 1000)
    (store.root / "superseded" / "r.1").mkdir(parents=True)
    before = files(here)
    assert call("gc") == 0
    assert files(here) == before
    assert "gc --yes" in capsys.readouterr().out
    assert call("gc", "--yes") == 0
    gone = set(before) - set(files(here))
    assert gone == {str(done.get_attempt(1).checkpoints_path / "10.safetensors")}
    assert not (store.root / "superseded").exists()


def test_ctrl_c_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.cli import verbs

    def interrupted(options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(verbs.COMMAND_HANDLERS, "plan", interrupted)
    assert call("plan", *WORDS) == main.EXIT_INTERRUPTED
    assert "the same command continues" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_our_own_mistakes_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.cli import verbs

    def raising(error: Exception) -> Any:
        def action(options: Any) -> int:
            raise error

        return action

    full = OSError(28, "No space left on device", "store/x")
    monkeypatch.setitem(verbs.COMMAND_HANDLERS, "plan", raising(full))
    assert call("plan", *WORDS) == main.EXIT_USER_ERROR
    assert capsys.readouterr().err == "sweep.py: store/x: No space left on device\n"
    monkeypatch.setitem(verbs.COMMAND_HANDLERS, "plan", raising(FileNotFoundError(2, "gone", "x")))
    with pytest.raises(FileNotFoundError):
        call("plan", *WORDS)


# ---- the process as a whole ----------------------------------------------------------------------

HEAVY = ("torch", "timm", "transformers", "matplotlib", "pandas")


def sweep(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python sweep.py <words>` with a list of its imports on stderr."""
    command = [sys.executable, "-X", "importtime", str(ROOT / "sweep.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["plan", "--help"], ["list", "models"], ["plan", *WORDS], ["status", *WORDS]],
    ids=" ".join,
)
def test_the_front_door_never_imports_torch(words: list[str], here: Path, plan: Plan) -> None:
    finished(Store(here / "store"), plan)
    done = sweep(*words, cwd=here)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip()
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "sweeps" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["plan", *WORDS], ["plan", *WORDS, "--json"]]
)
def test_a_closed_pipe_is_no_traceback(words: list[str], here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(ROOT / "sweep.py"), *words]
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(command, cwd=here, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_without_a_word_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == main.EXIT_USER_ERROR
    text = capsys.readouterr().out
    assert all(verb in text for verb in main.COMMANDS)
    assert call("--help") == 0
    assert capsys.readouterr().out == text


def test_every_verb_has_an_action_and_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    from sweeps.cli import verbs

    assert set(verbs.COMMAND_HANDLERS) == set(main.COMMANDS)
    for verb in main.COMMANDS:
        assert call(verb, "--help") == 0
        assert f"sweep.py {verb}" in capsys.readouterr().out
