"""What determines a tuning study: arms, search space, sampler, pruner and rungs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sweeps.tuning.search_space import ParamValue, SearchSpace
from uniclip.config.binding import to_builtins
from uniclip.errors import UserError

ETA = 3
"""Factor of the steps from one rung to the next, and of the trials that Hyperband stops."""

SamplerName = Literal["tpe", "gp", "cmaes", "qmc", "random"]
RoundPruner = Literal["none", "median", "hyperband"]
"""Rules of synchronous rounds (see `sweeps.tuning.study`)."""
OptunaPruner = Literal[
    "MedianPruner",
    "PercentilePruner",
    "SuccessiveHalvingPruner",
    "HyperbandPruner",
    "PatientPruner",
    "ThresholdPruner",
]
"""Classes of `optuna.pruners`."""
Pruner = Literal[RoundPruner, OptunaPruner]
OPTUNA_PRUNERS: tuple[str, ...] = get_args(OptunaPruner)
EQUAL_STEP_PRUNERS = ("none", "hyperband")
"""Rules that give every arm the same number of steps, whatever the scores are."""

ParamValues = dict[str, ParamValue]
"""Key of the configuration -> value."""
TrialParams = dict[str, dict[int, ParamValues]]
"""Arm -> number of the trial -> its values."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of a trial at a rung."""

    score: float
    """Validation score in [0, 1], the mean over the tuning seeds."""
    steps: int
    """Training steps from the start to this rung, all seeds together."""
    n_diverged: int = 0
    """Seeds whose run diverged."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything besides the scores that determines the trials."""

    arms: tuple[str, ...]
    space: SearchSpace
    n_trials: int
    """Trials of each arm."""
    initial_values: ParamValues | None = None
    """Values of the first trial of every arm; None = sampled like the others."""
    parallel_trials: int = 1
    """Trials of each arm in a round (with Hyperband the bracket determines them)."""
    sampler_seed: int = 0
    pruner: Pruner = "none"
    rungs: tuple[float, ...] = (1.0,)
    """Fractions of the training steps after which trials are compared; the last is 1."""
    sampler: SamplerName = "tpe"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    """Arguments of Optuna's sampler, in addition to those of `sweeps.tuning.sampler`."""
    pruner_options: dict[str, Any] = field(default_factory=dict)
    """Arguments of Optuna's pruner, in addition to those of `sweeps.tuning.pruner`."""
    rung_steps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Arm -> training steps of a run at each rung; empty = the number of the rung stands for it."""

    @property
    def identity(self) -> dict[str, Any]:
        """The fields as plain values, from which the name of the study's folder is derived.

        Fields that were added to the first version are left out at their default, so that folders
        of earlier versions are found; `rung_steps` follows from the sweep.
        """
        values: dict[str, Any] = to_builtins(self)
        del values["rung_steps"]
        defaults = {"sampler": "tpe", "sampler_options": {}, "pruner_options": {}}
        for name, default in defaults.items():
            if values[name] == default:
                del values[name]
        for dimension in values["space"].values():
            for name in ("step", "when"):
                if dimension[name] is None:
                    del dimension[name]
        return values

    def get_bracket(self, round_number: int) -> tuple[int, int]:
        """Return the largest number of trials of each arm in a round, and their first rung."""
        if self.pruner != "hyperband":
            return self.parallel_trials, 0
        last_rung = len(self.rungs) - 1
        halvings = last_rung - round_number % (last_rung + 1)
        return math.ceil((last_rung + 1) / (halvings + 1) * ETA**halvings), last_rung - halvings

    def get_step(self, arm: str, rung: int) -> int:
        """Return the step at which a score of a rung is reported to Optuna."""
        return self.rung_steps[arm][rung] if self.rung_steps else rung


def compute_rungs(pruner: str, num_validations: int) -> tuple[float, ...]:
    """Return the fractions of the training steps after which trials are compared.

    Args:
        pruner: "none", or a rule that compares trials before they are trained to the end.
        num_validations: Validations of a run.

    Raises:
        UserError: the pruner needs more validations.
    """
    if pruner == "none":
        return (1.0,)
    if num_validations < ETA:
        raise UserError(
            f"pruner={pruner} needs {ETA} validations a run, there would be {num_validations}: "
            "set train.validate_every lower"
        )
    num_lower_rungs = math.floor(math.log(num_validations, ETA) + 1e-9)
    return (*(ETA**-i for i in range(num_lower_rungs, 0, -1)), 1.0)


def make_options_error(
    key: str, name: str, options: Mapping[str, Any], error: Exception
) -> UserError:
    """Return the error for arguments that a class of Optuna does not accept."""
    text = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{key}={dict(options)}: {name} does not accept them: {text}")
