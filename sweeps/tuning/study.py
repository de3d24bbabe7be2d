"""A study: which points of a space every arm tries next, a function of the scores alone.

Asking and telling go in synchronous rounds. Each round asks for a few trials of every arm, has them
trained rung by rung, and tells their scores in the order of the trials. The sampler (TPE, Bergstra
et al., NeurIPS 2011) is built anew each round from what was told, under a seed that the study and
the round name: so who is killed and starts again asks for the same trials, wherever they run. The
seed does not name the arm: arms start from the same points, and two that are one function try the
same points to the end.

Pruning is synchronous too. `median` stops a trial that is below the median of its arm's scores at
a rung; `hyperband` (Li et al., JMLR 2018) is brackets of successive halving, in which every arm is
given the same steps whatever the scores are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from sweeps.tuning.search_space import Space
from uniclip.errors import UserError
from uniclip.rng import key
from uniclip.store import Round, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

STARTUP = 6
"""Trials at random before the sampler looks at scores."""
ETA = 3
"""From rung to rung the steps are multiplied by it, and in Hyperband the trials divided."""
MEDIAN_AFTER = 4
"""Trials of an arm that no median stops."""

Points = dict[str, dict[int, dict[str, Any]]]
"""Arm -> number of a trial -> its values."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a trial came to at a rung."""

    score: float
    """Mean over the tuning seeds, in [0, 1]."""
    steps: int
    """Training steps behind it, all seeds together, from the start."""
    diverged: int = 0


Measure = Callable[[int, int, Points], Mapping[str, Mapping[int, Measured]]]
"""(round, rung, points) -> what each came to there."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What decides the trials, beside the scores."""

    arms: tuple[str, ...]
    space: Space
    trials: int
    """For each arm."""
    start: dict[str, Any] | None = None
    """The first trial of every arm; None = drawn like the others."""
    at_once: int = 1
    """Trials of each arm in a round (Hyperband's brackets have sizes of their own)."""
    seed: int = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    rungs: tuple[float, ...] = field(default=(1.0,))
    """Shares of the steps after which trials are compared; the last is 1."""

    def bracket(self, number: int) -> tuple[int, int]:
        """How many trials of each arm round `number` asks for at most, and their first rung."""
        if self.pruner != "hyperband":
            return self.at_once, 0
        last = len(self.rungs) - 1
        halvings = last - number % (last + 1)
        return math.ceil((last + 1) / (halvings + 1) * ETA**halvings), last - halvings


def conduct(
    study: Study,
    measure: Measure,
    *,
    recall: Callable[[int], Round | None] = lambda number: None,
    tell: Callable[[Round], Round] = lambda round_: round_,
) -> list[Round]:
    """All rounds of a study: those that `recall` knows, then those that are measured and told."""
    told: list[Round] = []
    asked = 0
    while asked < study.trials:
        number = len(told)
        told.append(recall(number) or tell(_round(study, told, number, asked, measure)))
        asked += len(told[-1].trials[study.arms[0]])
    return told


def of_arm(rounds: Sequence[Round], arm: str) -> list[Trial]:
    """The trials of an arm, in their order."""
    return [trial for round_ in rounds for trial in round_.trials[arm]]


def rungs(pruner: str, validations: int) -> tuple[float, ...]:
    """Shares of the steps after which trials are compared, for runs with so many validations.

    Raises `UserError` if a pruner has no validation to go by before the end.
    """
    if pruner == "none":
        return (1.0,)
    if validations < ETA:
        raise UserError(
            f"pruner={pruner} needs {ETA} validations a run, there would be {validations}: "
            "set train.validate_every lower"
        )
    below = math.floor(math.log(validations, ETA) + 1e-9)
    return (*(ETA**-i for i in range(below, 0, -1)), 1.0)


def _round(study: Study, told: Sequence[Round], number: int, asked: int, measure: Measure) -> Round:
    """Ask for the trials of a round, bring them from rung to rung, and say what they came to."""
    size, first = study.bracket(number)
    count = min(size, study.trials - asked)
    before = {arm: of_arm(told, arm) for arm in study.arms}
    points = {a: dict(enumerate(_ask(study, before[a], count, number), asked)) for a in study.arms}
    last = len(study.rungs) - 1
    alive: Points = points
    reached: dict[tuple[str, int], dict[int, Measured]] = {}
    for rung in range(first, last + 1):
        measured = measure(number, rung, alive)
        for arm, tried in alive.items():
            for trial in tried:
                reached.setdefault((arm, trial), {})[rung] = measured[arm][trial]
        if rung < last:
            going_on = {a: _survivors(study, rung, measured[a], before[a]) for a in alive}
            alive = {a: {t: points[a][t] for t in going_on[a]} for a in alive if going_on[a]}
        if not alive:
            break
    trials = {
        arm: tuple(_trial(t, values, reached[arm, t], last) for t, values in tried.items())
        for arm, tried in points.items()
    }
    return Round(number=number, trials=trials)


def _trial(
    number: int, values: dict[str, Any], reached: Mapping[int, Measured], last: int
) -> Trial:
    newest = reached[max(reached)]
    return Trial(
        number=number,
        values=values,
        scores={str(rung): m.score for rung, m in reached.items()},
        done=last in reached,
        steps=newest.steps,
        diverged=newest.diverged,
    )


def _survivors(
    study: Study, rung: int, here: Mapping[int, Measured], before: Sequence[Trial]
) -> list[int]:
    """The trials that go on from a rung, in their order."""
    if study.pruner == "hyperband":
        ranked = sorted(here, key=lambda t: (-here[t].score, t))
        return sorted(ranked[: max(1, len(here) // ETA)])
    scores = [t.scores[str(rung)] for t in before if str(rung) in t.scores]
    scores += [m.score for m in here.values()]
    limit = median(scores) if len(before) >= MEDIAN_AFTER else -math.inf
    return [t for t, m in here.items() if m.score >= limit]


# ---- the sampler ---------------------------------------------------------------------------------


def _ask(study: Study, told: Sequence[Trial], count: int, number: int) -> list[dict[str, Any]]:
    """The next `count` points of an arm, of which `told` is known."""
    if not told and study.start is not None:
        return [study.start, *_sampled(study, told, count - 1, number)]
    return _sampled(study, told, count, number)


def _sampled(study: Study, told: Sequence[Trial], count: int, number: int) -> list[dict[str, Any]]:
    import optuna  # here: nothing but a tuning needs it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = _distributions(study.space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=key("tuning", study.seed, number) % 2**32,
            n_startup_trials=STARTUP,
            multivariate=True,
            constant_liar=True,
        )
    inner = optuna.create_study(direction="maximize", sampler=sampler)
    state = optuna.trial.TrialState
    for trial in told:
        encoded = {k: _index(study.space, k, v) for k, v in trial.values.items()}
        inner.add_trial(
            optuna.trial.create_trial(
                params=encoded,
                distributions=ranges,
                state=state.COMPLETE if trial.done else state.PRUNED,
                value=trial.score if trial.done else None,
                intermediate_values={int(rung): s for rung, s in trial.scores.items()},
            )
        )
    asked = [inner.ask(ranges).params for _ in range(count)]
    return [{k: _value(study.space, k, v) for k, v in params.items()} for params in asked]


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    made: dict[str, BaseDistribution] = {}
    for name, d in space.items():
        if d.choices is not None:
            # By position: a choice may be a list, which Optuna does not keep.
            made[name] = CategoricalDistribution(tuple(range(len(d.choices))))
        else:
            low, high = d.ends
            made[name] = (IntDistribution if d.whole else FloatDistribution)(low, high, log=d.log)
    return made


def _index(space: Space, name: str, value: Any) -> Any:
    choices = space[name].choices
    return value if choices is None else choices.index(value)


def _value(space: Space, name: str, drawn: Any) -> Any:
    choices = space[name].choices
    return space[name].rounded(drawn) if choices is None else choices[drawn]
