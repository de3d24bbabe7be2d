"""The configuration of views and methods: what is contrasted with what, and what that costs.

One class per method, selected by its `name`. `MethodConfig` is the interface of all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from uniclip.config.binding import config_field
from uniclip.config.heads import Fusion, check_modulation_lr, normalize_modulation_gain
from uniclip.config.losses import MULTI_POSITIVE_LOSSES, LossName, Negatives, PositiveWeights
from uniclip.errors import UserError

if TYPE_CHECKING:
    from uniclip.config.schema import RunConfig
    from uniclip.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """The views of each image in a training batch."""

    num_weak: int = config_field(1, low=0, high=8)
    """Views with a mild crop. For UniCLIP, one weak and two strong views are our reconstruction."""
    num_strong: int = config_field(2, low=0, high=8)
    """Views with a hard crop, flip, color jitter, grayscale and blur (SimCLR's). For UniCLIP, their
    number is our reconstruction."""
    identity_prob: float = config_field(0.1, low=0, high=1)
    """Probability that a view is the evaluation transform (our reconstruction: so the augmentation
    encoder sees in training what it sees at evaluation)."""
    min_crop_scale: float = config_field(0.2, above=0, high=1, value_if_missing=0.2)
    """Smallest area of a strong view's crop, as a fraction of the image: 0.2 as in MoCo v2 and
    DeCLIP, 0.08 as published for SLIP."""
    made_on: Literal["cpu", "device"] = config_field("cpu", value_if_missing="cpu")
    """cpu: data workers make the views. device: data workers only decode; the views of a batch are
    made together on runtime.device, of the same parameters. Views of image files are equal; those
    of generated images differ by single levels."""

    def __post_init__(self) -> None:
        if self.num_weak + self.num_strong < 1:
            raise UserError("views.num_weak + views.num_strong must be at least 1, got 0")


class MethodConfig(Protocol):
    """The interface of a method's configuration, built in or from a plug-in.

    An implementation is a frozen dataclass that inherits from this class, has a field `name` and
    defines `count_forward_passes` and `count_pairs`. All other members are optional: what this
    class defines is their default.
    """

    name: str
    """The value of `method.name` by which the method is selected."""
    min_batch_size: ClassVar[int] = 1
    """Smallest `train.batch_size`; 2 for contrastive losses, which compare the samples of a batch
    (the loss of a single one is 0), and for batch norm."""
    extra_text_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of `uniclip.data.batch.Batch` that the loader fills for this method alone."""
    if TYPE_CHECKING:  # what every frozen dataclass has
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @abstractmethod
    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Return the encoder forward passes per sample, by encoder ("image", "text")."""

    @abstractmethod
    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return the numbers of positives and negatives of one anchor in a batch of pairs.

        Args:
            views: The views of each image.
            samples: The number of samples in the batch.

        Returns:
            By kind: "it+" are the text positives of an image, "tt-" the text negatives of a text,
            and so on. A missing kind is 0.
        """

    def check_views(self, views: ViewsConfig) -> None:
        """Raise `UserError` unless the method can be trained on `views`."""
        return None

    def uses_label_positives(self, labelled: bool) -> bool:
        """Return whether the positives depend on which samples share a label or a caption.

        labelled: Whether the training batches have labels.
        """
        return False

    def build(self, config: RunConfig) -> Method | None:
        """Return the method itself, or None for one that `uniclip.methods.METHODS` builds.

        A plug-in imports torch here, not in its module: planning does not import torch.
        """
        return None


class SingleCaptionMethod(MethodConfig):
    """A method that encodes each caption once."""

    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Return the encoder forward passes per sample."""
        return {"image": views.num_weak + views.num_strong, "text": 1}


class ImageTextMethod(SingleCaptionMethod):
    """A method that contrasts every view with the captions, and nothing else."""

    min_batch_size: ClassVar[int] = 2

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return the numbers of positives and negatives of an image and of a text, by kind."""
        num_views = views.num_weak + views.num_strong
        return {"it+": 1, "ti+": num_views, "it-": samples - 1, "ti-": num_views * (samples - 1)}


HEAD_KEYS = ("fusion", "modulation_init_gain", "modulation_lr_mult")
"""Fields of `UniclipMethod` that have no effect without an augmentation encoder."""
TransformGroup = Literal["crop", "flip", "jitter", "grey", "blur"]


@dataclass(frozen=True, kw_only=True)
class UniclipMethod(SingleCaptionMethod):
    """UniCLIP (Lee et al., NeurIPS 2022); each component can be switched off or replaced."""

    name: Literal["uniclip"] = "uniclip"
    loss: LossName = "mp_nce"
    """The contrastive loss over all domains (`uniclip.config.losses`); "mp_nce" is UniCLIP's."""
    positive_weights: PositiveWeights = "balanced"
    """Weights of image-image, image-text and text-text positives: "balanced" = each domain pair
    counts equally, "uniform" = each positive counts equally, or three numbers. The published
    weights are unknown to us; "balanced" is our reconstruction, also for sup_con and mil_nce,
    whose papers weight every positive alike ("uniform")."""
    negatives: Negatives = config_field("all", value_if_missing="all")
    """Negatives of mp_nce and sup_con: all; those of the positive's domain; those of its slot (one
    of the views, or the text); or all, but no texts for a text. That texts are negatives of texts
    ("all") is our reconstruction."""
    similarity: Literal["domain", "shared", "temperatures", "offsets"] = "domain"
    """A temperature and an offset per domain pair ("domain"), one temperature for all ("shared"),
    or only temperatures or only offsets per domain pair."""
    augmentation_input: Literal["true", "identity", "shuffled", "none"] = "true"
    """Input of the augmentation encoder f_A: the parameters of the view's augmentation ("true"), of
    no augmentation ("identity"), or of another sample's ("shuffled"); "none" = there is no f_A."""
    visible_transforms: tuple[TransformGroup, ...] | None = config_field(
        None, value_if_missing=None
    )
    """Groups of transforms whose parameters f_A receives, in any order; null = all. It has no
    effect with augmentation_input=identity."""
    fusion: Fusion = "product_concat"
    """How g_I combines augmentation and image features (our reconstruction, chosen by a study of
    ours): "film" scales the image features by 1 + gamma and shifts them, "cosine" scales them by
    cos(gamma) and shifts them, "product" adds a low-rank product of both, "concat" passes both to
    an MLP, and "product_concat" is the last two together."""
    modulation_init_gain: float | None = config_field(None, low=0, value_if_missing=None)
    """Initial standard deviation of the modulation, as a multiple of that of the features of f_A:
    of scale and shift (film, cosine) or of the product. 0 = the modulation starts at zero; null =
    6 for film, else 1 (our reconstruction)."""
    modulation_lr_mult: float = config_field(1.0, above=0, value_if_missing=1.0)
    """Learning rate of the modulation, as a multiple of the model's (our reconstruction)."""
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature of every domain pair. That of CLIP, for all domain pairs alike, is our
    reconstruction: the published initial values are unknown to us."""

    min_batch_size: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.positive_weights not in ("balanced", "uniform"):
            numbers = [w for w in self.positive_weights if not isinstance(w, str)]
            _check_weights("positive_weights", numbers)
        if self.negatives != "all" and MULTI_POSITIVE_LOSSES[self.loss].negatives is not None:
            raise UserError(f"method.negatives={self.negatives} needs loss=mp_nce or loss=sup_con")
        if self.visible_transforms is not None:
            self._normalize_visible_transforms(self.visible_transforms)
        if self.augmentation_input == "none" and self.visible_transforms is not None:
            raise UserError(
                "method.augmentation_input=none has no augmentation encoder: leave out "
                "visible_transforms"
            )
        gain = normalize_modulation_gain(self.fusion, self.modulation_init_gain)
        object.__setattr__(self, "modulation_init_gain", gain)
        check_modulation_lr(self.fusion, self.modulation_lr_mult)
        for name in HEAD_KEYS if self.augmentation_input == "none" else ():
            if (value := getattr(self, name)) != getattr(UniclipMethod, name):
                raise UserError(
                    f"method.augmentation_input=none fuses nothing: leave out {name}={value}"
                )

    def _normalize_visible_transforms(self, groups: tuple[TransformGroup, ...]) -> None:
        """Bring the groups into one order without repetition: equal settings are one run."""
        if not groups:
            raise UserError(
                "method.visible_transforms=[] shows nothing: that is "
                "method.augmentation_input=identity"
            )
        ordered = tuple(group for group in get_args(TransformGroup) if group in groups)
        normalized = None if ordered == get_args(TransformGroup) else ordered
        object.__setattr__(self, "visible_transforms", normalized)

    def check_views(self, views: ViewsConfig) -> None:
        """Raise `UserError` unless some anchor has a positive of non-zero weight.

        A text has no text positives: a sample has one caption.
        """
        pairs = self.count_pairs(views, 2)
        if not any(pairs[kind] for kind in ("ii+", "it+", "ti+")):
            weights, num_views = list(self.positive_weights), views.num_weak + views.num_strong
            raise UserError(
                f"method.positive_weights={weights} leaves no positives with {num_views} views of "
                "an image: give image-text, the second, a weight (or image-image, the first, and "
                "two views)"
            )

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return the numbers of positives and negatives of an image and of a text, by kind.

        Counted are positives of non-zero weight, and the negatives that are contrasted with them.
        """
        num_views, other_samples = views.num_weak + views.num_strong, samples - 1
        weights = (
            (1.0, 1.0, 1.0) if isinstance(self.positive_weights, str) else self.positive_weights
        )
        # Whether an image attracts its other views, and images and texts of a sample each other.
        has_image_image, has_image_text = weights[0] > 0 and num_views > 1, weights[1] > 0
        negatives = MULTI_POSITIVE_LOSSES[self.loss].negatives or self.negatives
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
    """Initial temperature; learned in log space, its inverse capped at 100."""


@dataclass(frozen=True, kw_only=True)
class SiglipMethod(ImageTextMethod):
    """SigLIP (Zhai et al., ICCV 2023): a sigmoid of each pair; one learnable scale and bias."""

    name: Literal["siglip"] = "siglip"
    temperature: float = config_field(0.1, low=0.01, high=1)
    """Initial temperature; learned in log space, without bounds. The published scale starts at
    10."""
    bias: float = config_field(-10.0, low=-100, high=100)
    """Initial bias of the logits; learned. At the published -10 every pair starts as a negative, as
    all pairs of an image are but one."""


@dataclass(frozen=True, kw_only=True)
class UniclMethod(ImageTextMethod):
    """UniCL (Yang et al., CVPR 2022): images, texts and labels; equal labels are positives."""

    name: Literal["unicl"] = "unicl"
    temperature: float = config_field(0.36787944117144233, low=0.01, high=1)
    """Initial temperature; the published scale starts at e."""
    equal_captions: bool = False
    """Whether pairs with equal captions are positives of each other, as in Florence (Yuan et al.).

    A text encoder without dropout embeds them equally; loss and gradient then equal those without.
    """

    def uses_label_positives(self, labelled: bool) -> bool:
        """Return whether the positives depend on which samples share a label or a caption."""
        return labelled or self.equal_captions


@dataclass(frozen=True, kw_only=True)
class SlipMethod(SingleCaptionMethod):
    """SLIP (Mu et al., ECCV 2022): CLIP on a weak view, SimCLR between two strong ones."""

    name: Literal["slip"] = "slip"
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature of the image-text contrast."""
    ssl_weight: float = config_field(1.0, low=0)
    """Weight of SimCLR's loss; CLIP's has weight 1."""
    ssl_temperature: float = config_field(0.1, low=0.01, high=1)
    """Temperature of SimCLR's loss."""
    ssl_mlp_dim: int = config_field(4096, low=2)
    """Hidden units of SimCLR's projection head, three layers with batch norm."""
    ssl_embed_dim: int = config_field(256, low=2)
    """Width of SimCLR's embedding space."""
    gather_with_grad: bool = True
    """False = as published: CLIP's loss has no gradient to the embeddings of other processes."""

    min_batch_size: ClassVar[int] = 2
    """The projection head has batch norm, and a single sample has no variance."""

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return the numbers of positives and negatives of an image and of a text, by kind."""
        pair = {"it+": 1, "ti+": 1, "it-": samples - 1, "ti-": samples - 1}
        is_ssl_active = self.ssl_weight > 0
        return {**pair, "ii+": 1 * is_ssl_active, "ii-": 2 * (samples - 1) * is_ssl_active}

    def check_views(self, views: ViewsConfig) -> None:
        """Raise `UserError` unless there is a view for each of its losses."""
        if (views.num_weak, views.num_strong) != (1, 2):
            raise UserError(
                "method=slip needs views.num_weak=1 (for CLIP) and views.num_strong=2 (SimCLR)"
            )


@dataclass(frozen=True, kw_only=True)
class DeclipMethod(MethodConfig):
    """DeCLIP (Li et al., ICLR 2022): CLIP of two views and two captions, and three more losses."""

    name: Literal["declip"] = "declip"
    temperature: float = config_field(0.07, low=0.01, high=1)
    """Initial temperature; as published the scale is kept between e^3 and 100."""
    loss_weights: tuple[float, float, float, float] = (0.4, 0.2, 0.2, 0.2)
    """Weights of the losses: CLIP, nearest neighbor, SimSiam, masked language modeling."""
    queue_size: int = config_field(65_536, low=1)
    """Text features among which nearest neighbors are looked up."""
    ssl_mlp_dim: int = config_field(1024, low=2)
    """Width of SimSiam's projector; the hidden layer of its predictor is half as wide."""
    mlm_probability: float = config_field(0.15, above=0, high=1)
    """Fraction of the tokens that are predicted."""

    extra_text_fields: ClassVar[tuple[str, ...]] = ("augmented_tokens", "masked_tokens")
    min_batch_size: ClassVar[int] = 2
    """SimSiam's heads have batch norm, and a single sample has no variance."""

    def __post_init__(self) -> None:
        _check_weights("loss_weights", self.loss_weights)

    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Return the encoder forward passes per sample."""
        return {"image": views.num_weak + views.num_strong, "text": 2}

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return the numbers of positives and negatives of an image and of a text, by kind.

        The positives of an image are both captions, and the nearest neighbors of both.
        """
        clip, neighbors, simsiam, _ = (weight > 0 for weight in self.loss_weights)
        texts, images = 2 * (clip + neighbors), 2 * clip
        return {
            "ii+": 1 * simsiam,
            "it+": texts,
            "ti+": images,
            "it-": texts * (samples - 1),
            "ti-": images * (samples - 1),
        }

    def check_views(self, views: ViewsConfig) -> None:
        """Raise `UserError` unless there are two views."""
        if views.num_weak + views.num_strong != 2:
            raise UserError(
                "method=declip needs two views: views.num_weak=0 and views.num_strong=2"
            )


def _check_weights(key: str, weights: Sequence[float]) -> None:
    if min(weights) < 0 or max(weights) == 0:
        raise UserError(f"method.{key} must be at least 0, and not all 0, got {list(weights)}")


METHODS: dict[str, type[MethodConfig]] = {
    "uniclip": UniclipMethod,
    "unicl": UniclMethod,
    "clip": ClipMethod,
    "siglip": SiglipMethod,
    "slip": SlipMethod,
    "declip": DeclipMethod,
}
"""The configuration class of each method, by name; plug-ins add theirs."""
