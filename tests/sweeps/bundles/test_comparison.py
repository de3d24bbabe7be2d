"""Two executions of a run: bit for bit where that is promised, by their scores elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sweeps.bundles.comparison import Agreement, compare_runs
from tests.helpers.labs import edit_json
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError
from uniclip.store import RunFolder


@pytest.fixture
def runs(lab: Lab, tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    run = lab.store.get_run(lab.plan.cells[0].run_id)
    copies = tmp_path / "one" / run.id, tmp_path / "other" / run.id
    for path in copies:
        shutil.copytree(run.path, path)
    return RunFolder(copies[0]), RunFolder(copies[1])


def change_score(run: RunFolder, difference: float) -> None:
    (path,) = run.list_score_paths()
    record = json.loads(path.read_text())
    record["scores"][0]["value"] -= difference
    path.write_text(json.dumps(record))


def test_equal_results_are_identical_whatever_they_cost(runs: tuple[RunFolder, RunFolder]) -> None:
    edit_json(runs[1].path / "outcome.json", cost={"training_seconds": 1.0}, attempt=1)
    comparison = compare_runs(*runs)
    assert comparison.agreement is Agreement.IDENTICAL
    assert comparison.reason == ""


def test_other_scores_of_equal_weights_contradict(runs: tuple[RunFolder, RunFolder]) -> None:
    change_score(runs[1], 0.02)
    comparison = compare_runs(*runs)
    assert comparison.agreement is Agreement.CONTRADICTION
    assert comparison.largest_difference == pytest.approx(0.02)
    assert comparison.reason == "the scores on openmoji differ"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"numerics_class": {"cpu": "AVX512"}}, "not the same: cpu"),
        ({"training_hash": "other"}, "not the same: training code"),
    ],
)
def test_another_class_explains_other_weights(
    runs: tuple[RunFolder, RunFolder], changes: dict[str, object], reason: str
) -> None:
    edit_json(runs[1].path / "outcome.json", weights_digest="0" * 32, **changes)
    comparison = compare_runs(*runs)
    assert comparison.agreement is Agreement.OTHER_CLASS
    assert comparison.reason == f"the weights differ; {reason}"


@pytest.mark.parametrize(
    ("decoders", "agreement"),
    [
        (("Pillow 11", "Pillow 12"), Agreement.OTHER_CLASS),
        (("Pillow 11", "Pillow 11"), Agreement.CONTRADICTION),
        ((None, "Pillow 12"), Agreement.CONTRADICTION),
    ],
)
def test_another_decoder_explains_other_weights_unless_one_is_unknown(
    runs: tuple[RunFolder, RunFolder], decoders: tuple[str | None, str], agreement: Agreement
) -> None:
    for run, decoder in zip(runs, decoders):
        decoder_entry = {} if decoder is None else {"image_decoder": decoder}
        numerics_class = {"cpu": "AVX2", **decoder_entry}
        edit_json(run.path / "outcome.json", weights_digest="1" * 32, numerics_class=numerics_class)
        edit_json(run.get_attempt(1).claim_path, numerics_class=numerics_class)
    edit_json(runs[1].path / "outcome.json", weights_digest="0" * 32)
    assert compare_runs(*runs).agreement is agreement


@pytest.mark.parametrize(
    ("contents", "agreement"),
    [
        (({"k": "a", "l": "c"}, {"k": "b"}), Agreement.OTHER_CLASS),
        (({"k": "a"}, {"k": "a"}), Agreement.CONTRADICTION),
        (({"k": "a"}, {"l": "b"}), Agreement.CONTRADICTION),  # of the other key nothing is known
    ],
)
def test_other_samples_under_the_same_names_are_no_contradiction(
    runs: tuple[RunFolder, RunFolder],
    contents: tuple[dict[str, str], dict[str, str]],
    agreement: Agreement,
) -> None:
    for run, content, weights in zip(runs, contents, "01"):
        edit_json(run.path / "outcome.json", weights_digest=weights * 32, data_content=content)
    comparison = compare_runs(*runs)
    assert comparison.agreement is agreement
    assert ("other samples under the same names" in comparison.reason) is (
        agreement is Agreement.OTHER_CLASS
    )


def test_fast_numerics_promise_no_bits(runs: tuple[RunFolder, RunFolder]) -> None:
    """Within one class, since kernels are chosen by timing."""
    for run, weights in zip(runs, "01"):
        edit_json(
            run.path / "outcome.json",
            weights_digest=weights * 32,
            numerics_class={"numerics": "fast", "compiled": False},
        )
    comparison = compare_runs(*runs)
    assert comparison.agreement is Agreement.OTHER_CLASS
    assert comparison.reason == "the weights differ; train.numerics=fast promises no bits"


def test_a_run_without_an_outcome_cannot_be_compared(runs: tuple[RunFolder, RunFolder]) -> None:
    (runs[1].path / "outcome.json").unlink()
    with pytest.raises(UserError, match="has no outcome"):
        compare_runs(*runs)
