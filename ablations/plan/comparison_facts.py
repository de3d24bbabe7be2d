"""Counted quantities of an arm: what a comparison holds equal, computed from configurations.

Pairs are counted by the domains of the anchor and of the other side: "ii" image-image, "it"
image-text (the anchor is an image), "ti" text-image (the anchor is a text), "tt" text-text. The
configuration of the method counts them (`count_pairs`) for a batch without labels. Where samples
with equal labels are positives, their number depends on the data and is not counted.
"""

from __future__ import annotations

from uniclip.config import RunConfig

QUANTITIES = {
    "samples": "samples seen",
    "image_forwards": "image forward passes",
    "text_forwards": "text forward passes",
    "weak": "weak views",
    "strong": "strong views",
    "identity": "probability of the evaluation transform",
    "crop": "minimum crop area of a strong view",
    "patch_drop": "share of the patches left out",
    "ii+": "image-image positives per image",
    "it+": "image-text positives per image",
    "ti+": "text-image positives per text",
    "ii-": "image-image negatives per image",
    "it-": "image-text negatives per image",
    "ti-": "text-image negatives per text",
    "tt-": "text-text negatives per text",
}
"""Quantity -> its label in tables and in `Plan.comparison_facts`."""


def collect_comparison_facts(config: RunConfig) -> dict[str, float | None]:
    """Return label -> value for every entry of `QUANTITIES`, for one run.

    Samples and forward passes are totals of the training; pairs are per anchor in a batch. None
    where labels decide the value. The crop area is 0 if there is no random crop.
    """
    views, train = config.views, config.train
    samples = train.steps * train.batch_size
    forward_passes = config.method.count_forward_passes(views)
    pair_counts: dict[str, float | None] = {**config.method.count_pairs(views, train.batch_size)}
    if _uses_label_positives(config):
        pair_counts = dict.fromkeys(pair_counts)
    has_strong_crop = views.num_strong > 0 and config.data.name != "scenes"
    values: dict[str, float | None] = {
        **dict.fromkeys(QUANTITIES, 0.0),
        "samples": samples,
        "image_forwards": samples * forward_passes["image"],
        "text_forwards": samples * forward_passes["text"],
        "weak": views.num_weak,
        "strong": views.num_strong,
        "identity": views.identity_prob,
        "patch_drop": train.patch_drop_rate,
        "crop": views.min_crop_scale if has_strong_crop else 0.0,
        **pair_counts,
    }
    return {
        label: None if (value := values[quantity]) is None else float(value)
        for quantity, label in QUANTITIES.items()
    }


def _uses_label_positives(config: RunConfig) -> bool:
    """Return whether samples with equal labels are positives of each other."""
    return config.method.uses_label_positives(config.data.labelled)
