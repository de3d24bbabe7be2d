"""Effects of components whose sign depends on a setting, such as a choice that no source states.

An ablation with `settings` repeats the comparison of a component in each of them. A verdict on the
component holds in general only if its sign is the same in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.statistics.effects import Effect
from analysis.statistics.verdicts import judge
from uniclip.store import Contrast


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """A component's effect that has another sign in a setting than by default."""

    default: Contrast
    in_setting: Contrast
    is_significant: bool
    """Whether both verdicts are significant; else one is, and the other's mean has the opposite
    sign."""


def find_sign_flips(
    contrasts: Sequence[Contrast], effects: Mapping[str, Effect]
) -> Iterator[SignFlip]:
    """Yield the effects whose sign differs from the default's, in the order of the contrasts.

    Only pairs are compared of which at least one effect is significant: signs of noise differ by
    chance.

    Args:
        contrasts: Of a plan; a contrast with a setting is compared with the first one of the same
            component without.
        effects: Contrast -> effect.
    """
    defaults: dict[str, Contrast] = {}
    for contrast in contrasts:
        if contrast.component is not None and contrast.setting is None:
            defaults.setdefault(contrast.component, contrast)
    for contrast in contrasts:
        default = defaults.get(contrast.component or "")
        if contrast.setting is None or default is None:
            continue
        means = [effects[c.name].mean for c in (default, contrast)]
        signs = [judge(effects[c.name], c).sign for c in (default, contrast)]
        if any(signs) and (means[0] or 0) * (means[1] or 0) < 0:
            yield SignFlip(default=default, in_setting=contrast, is_significant=all(signs))
