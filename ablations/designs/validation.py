"""Checks of an ablation against the components, arms and contrasts that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ablations.designs.arms import build_arms
from ablations.designs.contrasts import build_contrasts
from ablations.schema import Ablation
from uniclip.config import DATA
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate.scoring.score_names import is_proportion
from uniclip.store import Component, Contrast, PlantedEffect, Prediction


def validate_ablation(ablation: Ablation, components: dict[str, Component]) -> None:
    """Raise `UserError` if an ablation names an unknown component, arm or contrast.

    Without this check, a typing error in its file would silently drop a contrast or a planted
    effect.
    """
    arm_definitions = build_arms(ablation)
    references: list[tuple[str, str, Mapping[str, Any]]] = []
    references += [("component", n, components) for n in ablation.components]
    references += [
        ("component", n, components) for a in arm_definitions.values() for n in a.components_off
    ]
    references += [
        ("arm", n, arm_definitions) for c in ablation.contrasts.values() for n in (c.plus, c.minus)
    ]
    references += [("arm", ablation.reference, arm_definitions)]
    references += [
        ("arm", e.arm, arm_definitions) for e in ablation.planted_effects if e.arm is not None
    ]
    _require_known_names(ablation, references)
    _check_setting_keys(ablation, components)
    contrasts_by_name = {
        c.name: c for c in build_contrasts(ablation, components, list(arm_definitions))
    }
    contrast_names = [e.contrast for e in ablation.planted_effects if e.contrast is not None]
    _require_known_names(
        ablation, [("contrast", name, contrasts_by_name) for name in contrast_names]
    )
    _check_predictions(ablation, contrasts_by_name)
    for effect in ablation.planted_effects:
        _check_planted_effect(ablation, effect)


def _check_planted_effect(ablation: Ablation, effect: PlantedEffect) -> None:
    """Raise `UserError` if a planted effect could never be confirmed on its score."""
    sources = [ablation.groups["data"]] if "data" in ablation.groups else list(DATA)
    metrics = ablation.primary_metrics or {
        name: score for name in sources if name in DATA and (score := DATA[name].primary_score)
    }
    for source, primary_metric in metrics.items():
        metric = effect.metric or primary_metric
        where = f"ablation {ablation.name}: planted_effects: {effect.kind} of {metric} of {source}"
        if effect.kind == "practically_nothing":
            if metric not in ablation.margins.get(source, {}):
                raise UserError(f"{where} needs a margin: set margins.{source}.{metric}")
        if effect.kind == "at_chance" and not is_proportion(metric):
            raise UserError(f"{where}: the score is no proportion of the test samples; name one")


def _check_setting_keys(ablation: Ablation, components: dict[str, Component]) -> None:
    """Raise `UserError` if a setting sets a key that turns off a component, which stayed on."""
    for setting_name, setting in ablation.settings.items():
        for component in ablation.components:
            for key in sorted(set(setting.overrides) & set(components[component].off_overrides)):
                raise UserError(
                    f"ablation {ablation.name}: setting {setting_name} sets {key}, by which "
                    f"component {component} is turned off: leave it out"
                )


def _require_known_names(
    ablation: Ablation, references: list[tuple[str, str, Mapping[str, Any]]]
) -> None:
    for kind, name, valid_names in references:
        if name not in valid_names:
            raise UserError(
                f"ablation {ablation.name}: {make_unknown_name_error(kind, name, valid_names)}"
            )


def _check_predictions(ablation: Ablation, contrasts_by_name: Mapping[str, Contrast]) -> None:
    """Raise `UserError` if a prediction is of no contrast, or could never be graded."""
    for prediction in ablation.predictions:
        where = f"ablation {ablation.name}: predictions"
        if bool(prediction.contrast) == bool(prediction.component):
            raise UserError(f"{where}: each names either a contrast or a component")
        if prediction.contrast:
            _require_known_names(ablation, [("contrast", prediction.contrast, contrasts_by_name)])
        elif not select_predicted(prediction, contrasts_by_name.values()):
            names = {c.component for c in contrasts_by_name.values() if c.primary and c.component}
            raise UserError(
                f"{where}: {make_unknown_name_error('component', prediction.component, names)}"
            )


def select_predicted(prediction: Prediction, contrasts: Iterable[Contrast]) -> list[Contrast]:
    """Return the contrasts that a prediction is on: the one that it names, or the primary ones of
    its component."""
    if prediction.contrast:
        return [c for c in contrasts if c.name == prediction.contrast]
    return [c for c in contrasts if c.primary and c.component == prediction.component]
