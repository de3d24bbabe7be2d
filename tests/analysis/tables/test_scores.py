"""Tables: stable bytes, nothing of the machine, and every seed accounted for."""

from __future__ import annotations

import csv
import dataclasses
import html
import re
import shutil
from dataclasses import replace as replaced
from pathlib import Path

import pytest

from analysis.collect import export
from analysis.collect.frame import collect_sweep_data
from analysis.report import html as page
from analysis.report import summary
from analysis.results.alarms import DataCheck
from analysis.results.results import (
    Results,
    analyze,
    compute_knockout_effect,
    find_comparability_warnings,
    find_mixed_numerics,
    find_mixed_training,
)
from analysis.tables import scores
from analysis.tables.effects import build_effect_table, build_other_effects_table
from analysis.tables.table import (
    TABLE_FORMATS,
    Table,
    make_row,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import Store


def findings(root: Path, truth: Truth) -> Results:
    store, sweep = fake_sweep.make(root, truth)
    return analyze(store, collect_sweep_data(store, sweep))


def written(found: Results) -> dict[str, str]:
    texts = {"frame.csv": export.format_csv(found.sweep_data.frame)}
    for table in scores.build_tables(found):
        texts |= {f"{table.name}.{suffix}": text(table) for suffix, text in TABLE_FORMATS.items()}
    return texts


def rows(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(to_csv(table).splitlines()))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("store")
    return root, findings(root, Truth())


def test_the_same_bytes_from_copies_at_other_places(
    complete: tuple[Path, Results], tmp_path: Path
) -> None:
    root, found = complete
    copy = tmp_path / "somewhere else"
    shutil.copytree(root, copy)
    store = Store(copy)
    again = written(analyze(store, collect_sweep_data(store, found.plan.sweep_id)))
    assert again == written(found)


def test_nothing_of_the_machine_stands_in_tables(complete: tuple[Path, Results]) -> None:
    root, found = complete
    for name, text in written(found).items():
        assert str(root) not in text, name
        assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|seconds", text), name


def test_the_planted_effect_is_claimed_and_no_other(complete: tuple[Path, Results]) -> None:
    verdicts = {r["contrast"]: r for r in rows(build_effect_table(complete[1]))}
    assert verdicts["main:awareness"]["verdict"] == "helps"
    assert verdicts["main:mp_nce"]["verdict"] == "cannot be told from 0"
    assert float(verdicts["main:mp_nce"]["detectable"]) > 0
    assert verdicts["full - clip"]["claim"] == "exploratory"
    assert verdicts["full - clip"]["cost"] == "3 against 1 image forwards"
    assert len(verdicts["full - clip"]["runs"].split()) == 6
    assert abs(float(verdicts["main:awareness"]["effect"]) - 0.08) < 0.03


def test_nothing_is_judged_outside_the_primary_score(complete: tuple[Path, Results]) -> None:
    """Of an error more is worse, and nothing there is corrected."""
    others = rows(build_other_effects_table(complete[1]))
    calibration = next(
        r for r in others if (r["score"], r["contrast"]) == ("ece", "main:awareness")
    )
    assert float(calibration["low"]) > 0
    assert {(r["verdict"], r["claim"]) for r in others} == {("", "exploratory")}


def test_scores_carry_chance_seeds_and_runs(complete: tuple[Path, Results]) -> None:
    table = scores.build_score_table(complete[1])
    full = next(r for r in rows(table) if r["arm"] == "full" and r["score"] == "retrieval.r1")
    assert (full["seeds"], full["samples"], full["dataset"]) == ("3", "600", "openmoji")
    assert float(full["chance"]) == pytest.approx(1 / 600)
    assert full["runs"].split() == [fake_sweep.run_id("full", s) for s in (0, 1, 2)]
    assert "zero-shot gender*" not in table.headings
    assert any("missing, not for data=openmoji" in note for note in table.notes)


def test_components_say_witness_and_use(complete: tuple[Path, Results]) -> None:
    found = complete[1]
    text = to_markdown(scores.build_component_table(found))
    assert "yes (1 check held)" in text
    assert "image head moved by 80 %" in text
    assert compute_knockout_effect(found.sweep_data, "awareness")[0] == pytest.approx(0.42)
    assert find_mixed_numerics(found) == []


def test_runs_by_other_code_and_of_other_numerics_are_told(
    complete: tuple[Path, Results], tmp_path: Path
) -> None:
    cells = tuple(("no-awareness", s) for s in (0, 1, 2)) + (("clip", 1),)
    found = findings(tmp_path, Truth(elsewhere=cells))
    code = "Trained by other code than the rest: no-awareness/0, no-awareness/1, clip/1 and 1 more"
    classes = "Arms of different numerics classes are compared: augmentation awareness, MP-NCE"
    for told in (code, classes):
        assert any(note.startswith(told) for note in build_effect_table(found).notes)
        assert told.split(":")[0] in " ".join(summary.build_terminal_summary(found))
        assert html.escape(told) in page._render_warnings(found)
    assert len(find_mixed_training(found)) == 4
    assert find_comparability_warnings(complete[1]) == []


def test_two_seeds_claim_nothing(tmp_path: Path) -> None:
    found = findings(tmp_path, Truth(seeds=(0, 1)))
    assert {e.sign for e in found.effects.values()} <= {None, 0}
    assert not any(found.tied_for_best.values())
    assert all("no claim" in s for s in summary.build_summary_sentences(found)[:3])


def test_diverged_and_missing_runs_are_told(tmp_path: Path) -> None:
    truth = Truth(
        seeds=(0, 1, 2, 3),
        diverged=(("clip", 1),),
        missing=(("full", 3),),
        unscored=(("none", 0),),
    )
    found = findings(tmp_path, truth)
    against = found.effects["full - clip"]
    assert (len(against.values), against.num_diverged, against.num_missing) == (2, 1, 1)
    frame = found.sweep_data.frame.set_index(["arm", "seed", "score"])["state"]
    at = [("clip", 1), ("full", 3), ("none", 0), ("full", 0)]
    states = [frame[arm, seed, "retrieval.r1"] for arm, seed in at]
    assert states == ["diverged", "missing", "unscored", "complete"]
    text = "".join(written(found).values())
    assert "1 diverged" in text
    assert "counted at chance" in text
    assert "not there yet" in text
    clip = next(r for r in rows(scores.build_score_table(found)) if r["arm"] == "clip")
    assert (clip["seeds"], clip["diverged"]) == ("3", "1")
    assert float(clip["worst_case"]) < float(clip["mean"])


def test_nothing_has_run_yet(tmp_path: Path) -> None:
    cells = tuple((a.name, s) for a in fake_sweep.arms() for s in (0, 1, 2))
    found = findings(tmp_path, Truth(missing=cells))
    assert {e.mean for e in found.effects.values()} == {None}
    assert "no data yet" in to_markdown(build_effect_table(found))
    assert len(summary.build_terminal_summary(found)) <= 25


def test_a_loss_to_a_simpler_arm_is_said(tmp_path: Path) -> None:
    found = findings(tmp_path / "loses", Truth(seeds=tuple(range(6)), clip=0.75))
    assert any("loses to simpler arms: CLIP" in s for s in summary.build_summary_sentences(found))
    found = findings(
        tmp_path / "leads", Truth(clip=0.2, effects={n: 0.1 for n in fake_sweep.NAMES})
    )
    assert any("No simpler arm scores higher" in s for s in summary.build_summary_sentences(found))


def listed(root: Path, truth: Truth) -> Results:
    """The arms as in ablations that list theirs: none is crossed, single arms are compared."""
    store, sweep = fake_sweep.make(root, truth)
    plan = fake_sweep.plan(truth)
    arms = tuple(
        a if a.role == "noise" else replaced(a, role="outside", levels={}) for a in plan.arms
    )
    single = tuple(
        replaced(c, primary=c.kind == "difference")
        for c in plan.contrasts
        if c.kind in ("difference", "noise")
    )
    store.get_sweep(sweep).write_plan(replaced(plan, design="listed", arms=arms, contrasts=single))
    return analyze(store, collect_sweep_data(store, sweep))


def test_a_listed_reference_that_loses_is_said_and_shown(tmp_path: Path) -> None:
    worse = {"awareness": -0.2, "mp_nce": -0.1}
    found = listed(tmp_path / "loses", Truth(effects=worse, noise=0.002))
    assert {r.arm for r in found.baselines} == {
        "no-awareness", "no-mp_nce", "no-domain_similarity", "clip", "clip-same-views"
    }  # fmt: skip
    told = "UniCLIP, all components loses to rivals: CLIP, the same views scores"
    assert any(s.startswith(told) for s in summary.build_summary_sentences(found))
    lines = summary.build_terminal_summary(found)
    assert any(line.startswith(told) for line in lines)
    assert any(re.match(r"UniCLIP, all components +0\.3\d\d \+-", line) for line in lines)
    better = {name: 0.2 for name in fake_sweep.NAMES}
    leads = summary.build_summary_sentences(listed(tmp_path / "leads", Truth(effects=better)))
    assert any("No rival scores higher than UniCLIP, all components" in s for s in leads)


def test_a_failed_cell_is_said_to_have_failed_wherever_it_did(tmp_path: Path) -> None:
    cells = (("full", 0), ("clip", 1), ("clip", 2))
    made = []
    for seconds, host in ((1.0, "here"), (99.0, "there")):
        store, sweep = fake_sweep.make(tmp_path / host, Truth(missing=cells))
        fake_sweep.fail(store, fake_sweep.run_id("full", 0), seconds=seconds, host=host)
        fake_sweep.begin(store, fake_sweep.run_id("clip", 2), time=seconds, host=host)
        made.append(analyze(store, collect_sweep_data(store, sweep)))
    found = made[0]
    told = summary.build_summary_sentences(found)[-1]
    assert told.startswith(
        "Of 33 cells: 1 not run yet, 1 begun and not finished, 1 failed (status "
    )
    assert "2 of 3 (1 failed)" in "".join(written(found).values())
    assert f"{found.run_by_cell['full', 0]} (failed)" in written(found)["runs.md"]
    assert written(made[0]) == written(made[1]), "no time, no host"


def test_what_is_missing_outlasts_every_other_warning(tmp_path: Path) -> None:
    cells = (("no-mp_nce", 0), ("clip", 1))
    truth = Truth(effects={"awareness": -0.2}, noise=0.002, missing=cells[:1], diverged=cells[1:])
    found = listed(tmp_path, truth)
    alarm = DataCheck(
        dataset="set", arm="full", seed=0, run=found.run_by_cell["full", 0], accuracy_as_named=0.1, accuracy_renamed=0.9,
        label_order_differs=True, above_chance=True, score="", value=None, value_without_duplicates=None, num_near_duplicates=None,
        num_undecidable=None, samples=100,
    )  # fmt: skip
    checks = [replaced(alarm, dataset=f"set{i}") for i in range(20)]
    lines = summary.build_terminal_summary(replaced(found, data_checks=checks))
    assert len(lines) == 25
    assert lines[-1] == "Of 33 cells: 1 not run yet, 1 diverged."
    assert re.fullmatch(r"\.\.\. and \d+ lines more: see the report", lines[-2])


def test_the_terminal_gets_a_short_plain_table(complete: tuple[Path, Results]) -> None:
    lines = summary.build_terminal_summary(complete[1])
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert all(line.isascii() for line in lines)


def test_the_terminal_says_what_it_leaves_out(complete: tuple[Path, Results]) -> None:
    plan, gathered = complete[1].plan, complete[1].sweep_data
    every = tuple(replaced(c, primary=c.kind != "noise") for c in plan.contrasts)
    asked = replaced(gathered, plan=replaced(plan, contrasts=every))
    lines = summary.build_terminal_summary(replaced(complete[1], sweep_data=asked))
    more = len(every) - 8
    assert more > 0
    assert f"... and {more} contrasts more: see the report" in lines
    assert "contrasts more" not in " ".join(summary.build_terminal_summary(complete[1]))


def test_a_corrupt_scores_file_is_named(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    run = store.get_run(fake_sweep.run_id("full", 1))
    path = run.scores_path("openmoji", fake_sweep.EVALUATION)
    atomic_write(path, path.read_bytes()[:-20])
    with pytest.raises(UserError, match=re.escape(str(path))):
        collect_sweep_data(store, sweep)


def test_corrupt_predictions_are_named(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    path = store.get_run(fake_sweep.run_id("clip", 0)).predictions_path(
        "openmoji", fake_sweep.EVALUATION
    )
    atomic_write(path, path.read_bytes()[:200])
    with pytest.raises(UserError, match=re.escape(str(path))):
        analyze(store, collect_sweep_data(store, sweep))


def test_an_unknown_sweep_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no sweep nothing"):
        collect_sweep_data(Store(tmp_path), "nothing")


def test_writers_escape() -> None:
    odd = "50 % of a_b & <c> | *d* #1 [e]"
    table = Table(
        name="odd",
        title="Odd",
        headings=("name", "x"),
        rows=(make_row(odd, "1"),),
        records=({"name": odd},),
    )
    assert r"50 \% of a\_b \& $<$c$>$ | *d* \#1 {[}e{]} & 1 \\" in to_latex(table)
    assert r"| 50 % of a\_b & &lt;c> \| \*d\* #1 [e] | 1 |" in to_markdown(table)
    assert "50 % of a_b &amp; &lt;c&gt; | *d* #1 [e]" in to_html(table)
    assert to_csv(table) == f"name\n{odd}\n"


def test_arms_with_recipes_of_their_own_are_stamped_wherever_they_are_compared(
    complete: tuple[Path, Results], tmp_path: Path
) -> None:
    plain = complete[1]
    assert plain.plan.caveats == ()
    own = {a.name: "a high rate" if a.name == "clip" else "a low one" for a in plain.plan.arms}
    planned = dataclasses.replace(plain.plan, recipe="published", recipe_descriptions=own)
    found = dataclasses.replace(
        plain, sweep_data=dataclasses.replace(plain.sweep_data, plan=planned)
    )
    (stamp,) = planned.caveats
    assert (
        stamp
        == summary.build_summary_sentences(found)[0]
        == summary.build_terminal_summary(found)[1]
    )
    stamped = {t.name: t.notes[0] for t in scores.build_tables(found) if stamp in t.notes}
    assert stamped == {t.name: stamp for t in scores.build_tables(plain) if t.name != "runs"}
    untouched = [t.notes[1:] for t in scores.build_tables(found)[:-1]]
    assert untouched == [t.notes for t in scores.build_tables(plain)[:-1]]
