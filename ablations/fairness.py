"""What a comparison holds equal, and what not: counted from configurations, before anything runs.

A picture and a text that anchor a loss have positives and negatives by domain; "ii" is a picture
among pictures, "it" a picture among texts, "ti" a text among pictures, "tt" a text among texts. The
method's configuration counts them (`contrasts`), for a batch without labels.
"""

from __future__ import annotations

from uniclip.config import RunConfig

QUANTITIES = {
    "samples": "samples seen",
    "image_forwards": "image forwards",
    "text_forwards": "text forwards",
    "ii+": "positives of a picture among pictures",
    "it+": "positives of a picture among texts",
    "ti+": "positives of a text among pictures",
    "ii-": "negatives of a picture among pictures",
    "it-": "negatives of a picture among texts",
    "ti-": "negatives of a text among pictures",
    "tt-": "negatives of a text among texts",
}
"""Name -> in words."""


def facts(config: RunConfig) -> dict[str, float]:
    """Of one run, in words: samples and forwards in all, positives and negatives an anchor."""
    samples = config.train.steps * config.train.batch_size
    forwards = config.method.forwards(config.views)
    counted = dict.fromkeys(QUANTITIES, 0.0)
    counted["samples"] = samples
    counted["image_forwards"] = samples * forwards["image"]
    counted["text_forwards"] = samples * forwards["text"]
    counted |= config.method.contrasts(config.views, config.train.batch_size)
    return {said: float(counted[name]) for name, said in QUANTITIES.items()}
