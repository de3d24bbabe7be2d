"""What a comparison holds equal, and what not: counted from configurations, before anything runs.

A picture and a text that anchor a loss have positives and negatives by domain; "ii" is a picture
among pictures, "it" a picture among texts, "ti" a text among pictures, "tt" a text among texts. The
method's configuration counts them (`contrasts`), for a batch without labels; where equal labels are
positives, their number is the data's, and is not counted.
"""

from __future__ import annotations

from uniclip.config import RunConfig

QUANTITIES = {
    "samples": "samples seen",
    "image_forwards": "image forwards",
    "text_forwards": "text forwards",
    "weak": "weak views",
    "strong": "strong views",
    "identity": "share of views that are the evaluation's",
    "crop": "least area of a strong view",
    "ii+": "positives of a picture among pictures",
    "it+": "positives of a picture among texts",
    "ti+": "positives of a text among pictures",
    "ii-": "negatives of a picture among pictures",
    "it-": "negatives of a picture among texts",
    "ti-": "negatives of a text among pictures",
    "tt-": "negatives of a text among texts",
}
"""Name -> in words."""


def collect_comparison_facts(config: RunConfig) -> dict[str, float | None]:
    """Of one run, in words: samples and forwards in all, the law of its views, positives and
    negatives an anchor.

    None: not counted, for labels decide it. A view's area is 0 where there is no such crop.
    """
    samples = config.train.steps * config.train.batch_size
    forward_passes = config.method.count_forward_passes(config.views)
    quantities: dict[str, float | None] = dict.fromkeys(QUANTITIES, 0.0)
    quantities["samples"] = samples
    quantities["image_forwards"] = samples * forward_passes["image"]
    quantities["text_forwards"] = samples * forward_passes["text"]
    views = config.views
    has_strong_crop = views.num_strong > 0 and config.data.name != "scenes"
    quantities |= {
        "weak": views.num_weak,
        "strong": views.num_strong,
        "identity": views.identity_prob,
    }
    quantities["crop"] = views.min_crop_scale if has_strong_crop else 0.0
    pair_counts = config.method.count_pairs(config.views, config.train.batch_size)
    uses_label_positives = getattr(config.method, "by_label", lambda labelled: False)
    if uses_label_positives(getattr(config.data, "labelled", False)):
        pair_counts = dict.fromkeys(pair_counts)
    quantities |= pair_counts
    return {
        label: None if (n := quantities[q]) is None else float(n) for q, label in QUANTITIES.items()
    }
