"""The configuration of views and methods: what is contrasted with what, and what that costs.

One class a method, chosen by its `name`. Each says how many encoder forwards a sample costs it, how
many positives and negatives an anchor has, and, with `check`, which views it needs; `least_batch`,
if it has one, is the smallest batch that it can be trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Union, get_args

from uniclip.config.binding import config_field
from uniclip.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """The views of each picture in a training batch."""

    num_weak: int = config_field(1, low=0, high=8)
    """Views with a mild crop."""
    num_strong: int = config_field(2, low=0, high=8)
    """Views with a hard crop, flip, colour jitter, grey and blur (SimCLR's)."""
    identity_prob: float = config_field(0.1, low=0, high=1)
    """Probability that a view is the evaluation transform (ours: evaluation then interpolates)."""
    min_crop_scale: float = config_field(0.2, above=0, high=1, value_if_missing=0.2)
    """Least area of a strong view's crop: 0.2 as in MoCo v2 and DeCLIP, 0.08 as SLIP published."""

    def __post_init__(self) -> None:
        if self.num_weak + self.num_strong < 1:
            raise UserError("views.num_weak + views.num_strong must be at least 1, got 0")


class SingleCaptionMethod:
    """A method that reads each caption once."""

    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Encoder forwards that one sample costs."""
        return {"image": views.num_weak + views.num_strong, "text": 1}


class ImageTextMethod(SingleCaptionMethod):
    """One that contrasts every view with the captions, and nothing else."""

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Positives and negatives of a picture and of a text, by domain, in a batch of pairs."""
        num_views = views.num_weak + views.num_strong
        return {"it+": 1, "ti+": num_views, "it-": samples - 1, "ti-": num_views * (samples - 1)}


TransformGroup = Literal["crop", "flip", "jitter", "grey", "blur"]
Weights = Union[Literal["balanced", "uniform"], tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class UniclipMethod(SingleCaptionMethod):
    """UniCLIP (Lee et al., NeurIPS 2022); each of its components can be turned off or replaced."""

    name: Literal["uniclip"] = "uniclip"
    loss: Literal["mp_nce", "sup_con", "mil_nce", "multi_view_info_nce"] = "mp_nce"
    positive_weights: Weights = "balanced"
    """Weights of image-image, image-text and text-text positives. That domains are weighted is
    recalled, the published numbers are not: "balanced", all alike, is our reconstruction."""
    negatives: Literal["all", "domain", "slot", "not_text_text"] = config_field(
        "all", value_if_missing="all"
    )
    """Of mp_nce and sup_con: all; those of the positive's domain or slot; no text of a text. That
    texts are negatives of texts ("all") is our reconstruction."""
    similarity: Literal["domain", "shared", "temperatures", "offsets"] = "domain"
    """A temperature and an offset for each domain pair; one temperature for all; or one of both."""
    augmentation_input: Literal["true", "identity", "shuffled", "none"] = "true"
    """What f_A sees: the view's vector, "nothing done", another sample's; or there is no f_A."""
    visible_transforms: tuple[TransformGroup, ...] | None = config_field(
        None, value_if_missing=None
    )
    """The groups of transforms that f_A is told of, in any order; null = all. (With aware=identity
    it is told nothing; that may stand beside told: so awareness switches off whatever is told.)"""
    fusion: Literal["film", "concat"] = "film"
    """How the augmentation's features meet the image's in g_I (our reconstruction)."""
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature of every domain pair."""

    def __post_init__(self) -> None:
        if self.positive_weights not in ("balanced", "uniform"):
            numbers = [w for w in self.positive_weights if not isinstance(w, str)]
            if min(numbers) < 0 or max(numbers) == 0:
                raise UserError(
                    f"method.positive_weights must be at least 0, and not all 0, got {numbers}"
                )
        if self.negatives != "all" and self.loss not in ("mp_nce", "sup_con"):
            raise UserError(f"method.negatives={self.negatives} needs loss=mp_nce or loss=sup_con")
        if self.visible_transforms == ():
            raise UserError(
                "method.visible_transforms=[] tells nothing: that is method.augmentation_input=identity"
            )
        if self.visible_transforms is not None:  # one run, however it is written
            visible_transforms = tuple(
                group for group in get_args(TransformGroup) if group in self.visible_transforms
            )
            object.__setattr__(
                self,
                "told",
                None if visible_transforms == get_args(TransformGroup) else visible_transforms,
            )
        if self.augmentation_input == "none" and self.visible_transforms is not None:
            raise UserError(
                "method.augmentation_input=none has no f_A to be told of anything: leave out told"
            )
        if self.augmentation_input == "none" and self.fusion != "film":
            raise UserError(
                f"method.augmentation_input=none fuses nothing: leave out fusion={self.fusion}"
            )

    def check_views(self, views: ViewsConfig) -> None:
        """`UserError` unless some anchor has a positive that counts; texts have none of texts."""
        pairs = self.count_pairs(views, 2)
        if not any(pairs[kind] for kind in ("ii+", "it+", "ti+")):
            weights, num_views = list(self.positive_weights), views.num_weak + views.num_strong
            raise UserError(
                f"method.positive_weights={weights} leaves no positives with {num_views} views of a picture: give "
                "image-text, the second, a weight (or image-image, the first, and two views)"
            )

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Positives and negatives of a picture and of a text, by domain, in a batch of pairs.

        Those that act: beside a positive of non-zero weight.
        """
        num_views, other_samples = views.num_weak + views.num_strong, samples - 1
        weights = (
            (1.0, 1.0, 1.0) if isinstance(self.positive_weights, str) else self.positive_weights
        )
        # Whether a picture's other views, and pictures and texts of a sample, pull at each other.
        has_image_image, has_image_text = weights[0] > 0 and num_views > 1, weights[1] > 0
        negatives = "slot" if self.loss == "multi_view_info_nce" else self.negatives
        spans_domains = negatives in ("all", "not_text_text")
        image_negatives = {
            "domain": num_views * has_image_image,
            "slot": (num_views - 1) * has_image_image,
        }.get(negatives, num_views * (has_image_image or has_image_text))
        return {
            "ii+": (num_views - 1) * has_image_image,
            "it+": 1 * has_image_text,
            "ti+": num_views * has_image_text,
            "ii-": image_negatives * other_samples,
            "it-": other_samples * (has_image_text or (spans_domains and has_image_image)),
            "ti-": num_views * other_samples * has_image_text,
            "tt-": other_samples * (has_image_text and negatives == "all"),
        }


@dataclass(frozen=True, kw_only=True)
class ClipMethod(ImageTextMethod):
    """CLIP (Radford et al., 2021): image-text contrast, linear projections, one learnable scale."""

    name: Literal["clip"] = "clip"
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature; learnt in log space, its inverse capped at 100."""


@dataclass(frozen=True, kw_only=True)
class UniclMethod(ImageTextMethod):
    """UniCL (Yang et al., CVPR 2022): pictures, texts and labels; equal labels are positives."""

    name: Literal["unicl"] = "unicl"
    temperature: float = config_field(0.36787944117144233, low=0.01, high=1)
    """Initial temperature; the published scale starts at e."""
    equal_captions: bool = False
    """Whether pairs with one caption are positives of each other, as in Florence (Yuan et al.).

    A text encoder without dropout embeds them alike; loss and gradient are then those without."""

    def uses_label_positives(self, labelled: bool) -> bool:
        """Whether positives depend on which samples share a label or a caption."""
        return labelled or self.equal_captions


@dataclass(frozen=True, kw_only=True)
class SlipMethod(SingleCaptionMethod):
    """SLIP (Mu et al., ECCV 2022): CLIP on a weak view, SimCLR between two strong ones."""

    name: Literal["slip"] = "slip"
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature of the image-text contrast."""
    ssl_weight: float = config_field(1.0, low=0)
    """Weight of SimCLR's loss beside CLIP's."""
    ssl_temperature: float = config_field(0.1, low=0.01, high=1)
    ssl_mlp_dim: int = config_field(4096, low=2)
    """Hidden units of SimCLR's head, three layers with batch norm."""
    ssl_embed_dim: int = config_field(256, low=2)
    """Width of SimCLR's space."""
    gather_with_grad: bool = True
    """False = as published: what CLIP's loss says of other processes' rows is dropped."""

    min_batch_size: ClassVar[int] = 2
    """Its head has batch norm, and one sample no variance."""

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Positives and negatives of a picture and of a text, by domain, in a batch of pairs."""
        pair = {"it+": 1, "ti+": 1, "it-": samples - 1, "ti-": samples - 1}
        is_ssl_active = self.ssl_weight > 0
        return {**pair, "ii+": 1 * is_ssl_active, "ii-": 2 * (samples - 1) * is_ssl_active}

    def check_views(self, views: ViewsConfig) -> None:
        """`UserError` unless there is a view for each of its losses."""
        if (views.num_weak, views.num_strong) != (1, 2):
            raise UserError(
                "method=slip needs views.num_weak=1 (for CLIP) and views.num_strong=2 (SimCLR)"
            )


@dataclass(frozen=True, kw_only=True)
class DeclipMethod:
    """DeCLIP (Li et al., ICLR 2022): CLIP of two views by two captions, and three more signals."""

    name: Literal["declip"] = "declip"
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature; as published the scale is kept between e^3 and 100."""
    loss_weights: tuple[float, float, float, float] = (0.4, 0.2, 0.2, 0.2)
    """Of CLIP's, the nearest neighbours', SimSiam's and the masked language model's losses."""
    queue_size: int = config_field(65_536, low=1)
    """Text features among which neighbours are looked up."""
    ssl_mlp_dim: int = config_field(1024, low=2)
    """Width of SimSiam's projector; its predictor is half as wide inside."""
    mlm_probability: float = config_field(0.15, above=0, high=1)
    """Share of the tokens that are to be guessed."""

    extra_text_fields: ClassVar[tuple[str, ...]] = ("augmented_tokens", "masked_tokens")
    min_batch_size: ClassVar[int] = 2
    """SimSiam's heads have batch norm, and one sample no variance."""

    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Encoder forwards that one sample costs."""
        return {"image": views.num_weak + views.num_strong, "text": 2}

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Positives and negatives of a picture and of a text, by domain, in a batch of pairs.

        A picture has both captions, and both of their nearest neighbours.
        """
        clip, neighbours, simsiam, _ = (weight > 0 for weight in self.loss_weights)
        texts, pictures = 2 * (clip + neighbours), 2 * clip
        return {
            "ii+": 1 * simsiam,
            "it+": texts,
            "ti+": pictures,
            "it-": texts * (samples - 1),
            "ti-": pictures * (samples - 1),
        }

    def check_views(self, views: ViewsConfig) -> None:
        """`UserError` unless there are two views."""
        if views.num_weak + views.num_strong != 2:
            raise UserError(
                "method=declip needs two views: views.num_weak=0 and views.num_strong=2"
            )

    def __post_init__(self) -> None:
        if min(self.loss_weights) < 0 or max(self.loss_weights) == 0:
            raise UserError(
                f"method.positive_weights must be at least 0, and not all 0, got {self.loss_weights}"
            )


METHODS: dict[str, type] = {
    "uniclip": UniclipMethod,
    "unicl": UniclMethod,
    "clip": ClipMethod,
    "slip": SlipMethod,
    "declip": DeclipMethod,
}
