"""`plan`: what would run, why, and its estimated cost."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config.request import parse_request
from tests.helpers.command_line import execute, read_files, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import DatasetScores, Plan, Score, Store
from uniclip.store.json_io import to_json_bytes


def test_plan_shows_for_every_cell_whether_it_will_run_and_why(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    files = read_files(work_folder)
    assert execute("plan", *OVERRIDES, "--full") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for cell in plan.cells:
        (line,) = (t for t in printed.out.splitlines() if t.startswith(f"{cell.name} "))
        assert cell.run_id[:8] in line
        is_complete = cell == plan.cells[0]
        assert ("complete" in line) == is_complete
        assert (" yes " in line) != is_complete
    assert "not measured" in printed.out
    assert plan.sweep_id in printed.out
    assert read_files(work_folder) == files


def test_plan_compares_time_and_memory_of_each_contrast_once_arms_are_probed(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in plan.arms:
        factor = 2.0 if arm.name == "clip" else 1.0
        probe = {
            "arm": arm.name,
            "device": "cpu",
            "seconds_per_step": factor,
            "setup_and_eval_seconds": 0.0,
            "peak_memory_bytes": 4e8 / factor,
        }
        append_jsonl(Store(work_folder / "store").get_sweep(plan.sweep_id).probes_path, probe)
    assert execute("plan", *OVERRIDES) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    labels = {c.label: [t for t in lines if t.startswith(f"{c.label}: ")] for c in plan.contrasts}
    shown = {label: texts for label, texts in labels.items() if texts}
    assert list(shown) == ["UniCLIP vs. CLIP", "UniCLIP vs. CLIP, same views"]
    assert "in 15 of 17 contrasts both sides have equal counts; the others differ in:" in lines
    (comparison,) = shown["UniCLIP vs. CLIP"]
    steps = plan.base_config["train"]["steps"]
    times = f"seconds per run {steps:,} vs. {2 * steps:,}"
    assert comparison.startswith(
        f"UniCLIP vs. CLIP: {times}, peak memory (MB) 400 vs. 200, image forward passes "
    )
    (comparison,) = shown["UniCLIP vs. CLIP, same views"]
    assert "seconds" not in comparison


def write_scores(store: Store, plan: Plan) -> None:
    """Store the scores of all cells of another sweep that has the same runs."""
    store.get_sweep("other-smoke-00000000").write_plan(replace(plan, sweep_id="other"))
    for index, cell in enumerate(plan.cells):
        run = store.get_run(cell.run_id)
        run.write_spec({})
        for metric in plan.primary_metrics:
            evaluation_hash = plan.evaluation_hashes[cell.arm][metric.dataset]
            score = Score(
                name=metric.metric,
                value=0.5 + 0.01 * (index * 7 % 11),
                kind="recall",
                chance=0.1,
                num_samples=1000,
            )
            path, old = run.scores_path(metric.dataset, evaluation_hash), ()
            if path.exists():
                old = run.read_scores(metric.dataset, evaluation_hash).scores  # type: ignore
            scores = DatasetScores(
                dataset=metric.dataset,
                evaluation_hash=evaluation_hash,
                protocol={},
                weights_digest="00",
                scores=(*old, score),
            )
            atomic_write(path, to_json_bytes(scores))


@pytest.mark.parametrize("seeds", ["3", "adaptive"])
def test_pilot_and_mde_state_seeds_and_hours_from_the_spread_of_every_sweep(
    seeds: str, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, words = Store(work_folder / "store"), [*OVERRIDES, f"seeds={seeds}", "--full"]
    plan = build_plan(parse_request([*OVERRIDES, "seeds=7"]).plan_request).plan
    assert execute("plan", *words, "pilot=3", "mde=0.05") == 0
    text = capsys.readouterr().out
    assert "pilot: 3 seeds of 11 arms, 33 cells, cost not measured" in text
    assert "mde=0.05 on retrieval.caption.r1: unknown until pilot seeds ran" in text
    write_scores(store, plan)
    for arm in plan.arms:
        probe = {"arm": arm.name, "device": "cpu", "seconds_per_step": 10.0}
        probe |= {"setup_and_eval_seconds": 0.0, "peak_memory_bytes": 1e8}
        append_jsonl(store.get_sweep(plan.sweep_id).probes_path, probe)
    assert execute("plan", *words, "pilot=3", "mde=0.05") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(r"pilot: 3 seeds of 11 arms, 33 cells, [\d.e+]+ worker hours; run", text)
    for name in ("retrieval.caption.r1", "retrieval.caption.log_likelihood"):
        counts = r"\d+ seeds \(\d+ to [\w ]+\) for every primary contrast, [\d.e+]+ worker hours"
        assert re.search(rf"mde=0.05 on {name}: {counts}; from the spread of 7 seeds", text)
    assert " seeds, from the spread of 7 seeds, with its 95 % interval: " in text
    label = "estimate of this round: " if seeds == "adaptive" else " estimate: "
    assert label in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pilot=1"], "pilot"),
        (["mde=0"], "mde"),
        (["pilot=3", "--json"], "pilot= and mde= add sentences: leave out --json"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute("plan", *OVERRIDES, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [OVERRIDES, ["ablation=methods", "budget=smoke", "data=scenes", "recipe=published", "seeds=9"]],
    ids=["components", "recipes"],
)
def test_a_plan_takes_one_screen_unless_it_is_to_be_full(
    words: list[str],
    columns: int,
    work_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    assert execute("plan", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if "..." in line]
    assert "plan --full lists every cell, difference and note" in " ".join(map(str.strip, lines))
    assert execute("plan", *words, "--full") == 0
    full_lines = capsys.readouterr().out.splitlines()
    assert max(map(len, full_lines)) <= columns
    assert len(full_lines) > 24


def test_plan_describes_the_recipe_of_each_arm(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablation=methods", "budget=smoke", "data=scenes"]
    assert execute("plan", *words, "recipe=published", "--full") == 0
    text = capsys.readouterr().out
    assert "not a comparison of components" in text
    assert "steps and batch size are the budget's" in text
    for arm in ("uniclip", "unicl", "clip", "slip", "declip"):
        assert re.search(rf"^  {arm} +AdamW, learning rate ", text, re.M)
    assert execute("plan", *words) == 0
    assert "recipe" not in capsys.readouterr().out


TWELVE_KEYS = (
    *("train.weight_decay: 0", "train.grad_clip_norm: 5", "train.warmup_ratio: 0"),
    *("views.min_crop_scale: 1", "views.identity_prob: 0", "views.num_weak: 0"),
    *("model.num_head_blocks: 1", "train.learning_rate: 0.0005", "train.similarity_lr_mult: 1"),
    *("train.adam_eps: 0.001", "method.similarity: shared", "method.loss: sup_con"),
)


def write_screening(folder: Path, design: str) -> tuple[str, ...]:
    """Write twelve components and an ablation that screens them; return its words."""
    names = [f"component_{chr(97 + i)}" for i in range(12)]
    entries = [
        f"{name}: {{label: {name.replace('_', ' ')}, short_label: {name[-1]}, reason: r, "
        f"off_overrides: {{{key}}}, manipulation_check: {{kind: settings}}}}\n"
        for name, key in zip(names, TWELVE_KEYS)
    ]
    (folder / "ablation").mkdir()
    (folder / "components.yaml").write_text("".join(entries))
    (folder / "ablation" / "screening.yaml").write_text(
        "title: Which of twelve components matter?\ngroups: {method: uniclip, data: scenes}\n"
        f"{design}components: [{', '.join(names)}]\n"
        "predictions: [{component: component_a, sign: positive, reason: r}]\n"
    )
    return "ablation=screening", f"conf_dir={folder}", "seeds=3"


@pytest.mark.parametrize(
    ("design", "num_arms", "aliases"),
    [
        (
            "design: fractional\n",
            32,
            "12 of 12 main effects are aliased with interactions of three",
        ),
        (
            "design: fractional\nresolution: 3\n",
            16,
            "12 of 12 main effects are aliased with interactions of two",
        ),
        (
            "design: plackett_burman\n",
            20,
            "12 of 12 main effects are aliased with parts of interactions of two",
        ),
    ],
)
def test_a_plan_of_twelve_components_is_one_screen_and_full_lists_every_alias(
    design: str,
    num_arms: int,
    aliases: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (*write_screening(tmp_path, design), f"store={tmp_path / 'store'}")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    assert execute("plan", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert f"{num_arms} of 4,096 combinations of 12 components; {aliases}" in text
    assert "fold_over=[" in text
    assert "1 prediction of " in text
    assert "estimate: not measured" in text
    assert execute("plan", *words, "--full") == 0
    whole = capsys.readouterr().out
    alias_lines = [line for line in whole.splitlines() if line.startswith("component_a = ")]
    assert len(alias_lines) == 1
    assert whole.count(" = component_") >= 12
    assert not (tmp_path / "store").exists(), "nothing is written"
