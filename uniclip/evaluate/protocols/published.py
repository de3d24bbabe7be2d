"""The published evaluation protocols.

Where an implementation here deviates from its source, the protocol says so in `deviations`, which
is part of the evaluation hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.errors import make_unknown_name_error
from uniclip.evaluate.protocols.protocol import EvaluationProtocol, LinearProbeConfig, Preprocessing

if TYPE_CHECKING:
    from uniclip.evaluate.metrics import Metric

_MEAN_PER_CLASS: tuple[tuple[str, Metric], ...] = (
    ("fgvc_aircraft", "mean_per_class"),
    ("oxford_pets", "mean_per_class"),
    ("caltech101", "mean_per_class"),
    ("flowers102", "mean_per_class"),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol(
            name="clip2021",
            imagenet_templates="imagenet80",
            caption_template="a photo of {}",
            preprocessing=Preprocessing("bicubic"),
            probe_config=LinearProbeConfig("backbone", "none"),
            metrics=(*_MEAN_PER_CLASS, ("voc2007", "map11")),
            difficult_objects="excluded",
            test_on_all=(),
            deviations=("probe of two classes: each has a weight vector, so lambda counts twice",),
        ),
        EvaluationProtocol(
            name="slip2021",
            imagenet_templates="imagenet7",
            caption_template="{}",
            preprocessing=Preprocessing("bilinear"),
            probe_config=LinearProbeConfig("backbone", "none"),
            metrics=(*_MEAN_PER_CLASS, ("voc2007", "map11")),
            difficult_objects="excluded",
            test_on_all=(),
            deviations=(
                "probe by L-BFGS and validation; SLIP: 90 epochs of SGD with augmentation, the "
                "best epoch on the evaluation split",
                "VOC 2007 is not among SLIP's data sets: as in clip2021",
            ),
        ),
        EvaluationProtocol(
            name="laion_cb",
            imagenet_templates="imagenet80",
            caption_template="{}",
            preprocessing=Preprocessing("bicubic"),
            probe_config=LinearProbeConfig(
                "embedding", "l2_normalized", max_exponent=2, points_per_decade=12
            ),
            metrics=(("voc2007", "map"),),
            difficult_objects="present",
            test_on_all=(
                "sun397",
                "caltech101",
                "eurosat",
            ),  # so none is left to fit a probe to
            deviations=(
                "probe by L-BFGS, where a grid value multiplies the penalty; CLIP_benchmark: 10 "
                "epochs of AdamW with the same value as weight decay",
                "a class without a positive is excluded from mAP; CLIP_benchmark counts it as 0",
            ),
        ),
    )
}
"""By name: Radford et al. (2021); Mu et al. (2021), as their code does it; CLIP_benchmark 1.6."""

DEFAULT_PROTOCOL = "clip2021"


def get_published_protocol(name: str) -> EvaluationProtocol:
    """Return the published protocol of that name; `UserError` if there is none."""
    if name not in PROTOCOLS:
        raise make_unknown_name_error("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
