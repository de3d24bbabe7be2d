"""Import of published models: the same features, from a checkpoint that is imported completely.

The architecture is inferred from the shapes of the tensors; encoders are timm's and transformers',
projections linear. What shapes do not determine is stated here: heads are 64 wide (except in
open_clip's largest models), UniCL's input has 224 pixels, and the activation of CLIP's Transformers
is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.transforms import v2

from uniclip.checkpoints import key_mapping
from uniclip.checkpoints.key_mapping import (
    CLIP_LAYER_NORM_EPS,
    HEAD_DIM,
    LOGIT_BIAS_KEY,
    KeyMapping,
)
from uniclip.checkpoints.open_clip_config import OpenClipConfig
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.checkpoints.read import read_checkpoint
from uniclip.config import (
    CLIP_VOCAB_SIZE,
    ClipMethod,
    CsvData,
    ImageConfig,
    ModelConfig,
    RunConfig,
    RuntimeConfig,
    SiglipMethod,
    TextConfig,
)
from uniclip.data.text import tokenizer
from uniclip.errors import UserError
from uniclip.methods.clip import Clip
from uniclip.methods.siglip import Siglip
from uniclip.models.embedder import Embedder, build_text_encoder
from uniclip.models.encoders import ImageEncoder

HEAD_DIM_BY_WIDTH = {1280: 80, 1408: 88, 1664: 104}
"""Width of a vision Transformer -> width of its heads, if not 64 (open_clip)."""
RESNET_NAMES: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 4, 6, 3), 64): "resnet50_clip",
    ((3, 4, 23, 3), 64): "resnet101_clip",
    ((4, 6, 10, 6), 80): "resnet50x4_clip",
    ((6, 8, 18, 8), 96): "resnet50x16_clip",
    ((3, 15, 36, 10), 128): "resnet50x64_clip",
}
"""Numbers of blocks by stage, and width -> name in timm."""
UNICL_RESIZE_RATIO = 256 / 224
"""UniCL's evaluation resizes the shorter side to 256 pixels before it crops 224."""
UNICL_LAYER_NORM_EPS = 1e-12
TEXT_TOWER_PREFIX = "text."
"""Prefix of the text tower in open_clip's models with separate towers."""


class ImportedModel(PretrainedModel):
    """A published model; PIL images are preprocessed as its authors do.

    Args:
        embedder: The encoders and projections.
        method: Holds the scale of the logits, and their bias if they have one.
        text_tokenizer: CLIP's.
        config: Describes the model.
        resize_size: Shorter side of an image before the centre crop, in pixels.
    """

    def __init__(
        self,
        embedder: Embedder,
        method: Clip | Siglip,
        text_tokenizer: tokenizer.Tokenizer,
        config: RunConfig,
        resize_size: int,
    ) -> None:
        super().__init__(embedder, method, text_tokenizer, config)
        self._resize_size = resize_size
        self._preprocess = v2.Compose(
            [v2.Resize(resize_size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(self._crop_size)]
        )

    @property
    def _crop_size(self) -> int:
        return self.config.model.image.image_size

    @property
    def _min_image_side(self) -> int:
        return 2 * self._resize_size

    def _crop(self, image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(self._preprocess(image), np.uint8).transpose(2, 0, 1)


@dataclass(frozen=True)
class CheckpointWeights:
    """The tensors of a checkpoint under our names, and their model."""

    model: ModelConfig
    state_dict: dict[str, Tensor]
    """State of an `Embedder` with linear heads."""
    embedder: Embedder
    log_scale: float
    resize_size: int
    """Shorter side of an image before the centre crop, in pixels."""
    activation_is_known: bool
    """Whether the file states the activation of the Transformers; else it is an argument, or
    it is open_clip's default."""
    bias: float | None = None
    """SigLIP's bias of the logits."""


def load_model(
    path: str | Path,
    *,
    allow_torchscript: bool = False,
    quick_gelu: bool | None = None,
    open_clip_config: OpenClipConfig | None = None,
) -> ImportedModel:
    """Return the model of a checkpoint of CLIP, open_clip or UniCL, on the CPU.

    Args:
        path: The file.
        allow_torchscript: Open TorchScript archives (OpenAI's files), which contain code.
        quick_gelu: Whether the activation of CLIP's Transformers is quick_gelu, which shapes do not
            determine. None: quick_gelu if the file states that it is OpenAI's, else open_clip's
            default, the GELU. UniCL's activation is known.
        open_clip_config: What open_clip's JSON states of the model, the activation included.

    Raises:
        UserError: There is no such file; a key is missing, unexpected, of another shape or without
            real and finite numbers; the architecture is unknown; or CLIP's vocabulary is not
            installed.
    """
    text_tokenizer = tokenizer.load_clip_tokenizer()
    weights = read_weights(
        Path(path),
        text_tokenizer,
        allow_torchscript=allow_torchscript,
        quick_gelu=quick_gelu,
        open_clip_config=open_clip_config,
    )
    return assemble_model(weights, text_tokenizer)


def assemble_model(
    weights: CheckpointWeights, text_tokenizer: tokenizer.Tokenizer
) -> ImportedModel:
    """Return the model of weights that were read completely, on the CPU."""
    data = CsvData(image_size=weights.model.image.image_size)
    method_config = ClipMethod() if weights.bias is None else SiglipMethod(bias=weights.bias)
    config = RunConfig(
        data=data,
        model=weights.model,
        method=method_config,
        runtime=RuntimeConfig(device="cpu"),
    )
    method = (
        Clip(method_config, config.views)
        if isinstance(method_config, ClipMethod)
        else Siglip(method_config, config.views)
    )
    with torch.no_grad():
        method.log_scale.fill_(weights.log_scale)
    return ImportedModel(
        weights.embedder.eval(), method, text_tokenizer, config, weights.resize_size
    )


def read_weights(
    path: Path,
    text_tokenizer: tokenizer.Tokenizer,
    *,
    allow_torchscript: bool = False,
    quick_gelu: bool | None = None,
    open_clip_config: OpenClipConfig | None = None,
) -> CheckpointWeights:
    """Return the weights of a published checkpoint, all of them or none; see `load_model`."""
    facts = open_clip_config or OpenClipConfig()
    quick_gelu = quick_gelu if open_clip_config is None else open_clip_config.quick_gelu
    contents = read_checkpoint(path, allow_torchscript=allow_torchscript)
    tensors, checkpoint_name = contents.tensors, str(path)
    mapping = key_mapping.detect_format(tensors, checkpoint_name)
    uses_quick_gelu = True
    if not mapping.is_unicl:
        tensors = {key.removeprefix(TEXT_TOWER_PREFIX): value for key, value in tensors.items()}
        uses_quick_gelu = contents.is_openai if quick_gelu is None else quick_gelu
    shape_reader = _ShapeReader(tensors, checkpoint_name)
    model = _infer_model_config(mapping, shape_reader, uses_quick_gelu, facts)
    if model.text.vocab_size != text_tokenizer.vocab_size:
        raise UserError(
            f"{checkpoint_name} has a vocabulary of {model.text.vocab_size} tokens; only CLIP's of "
            f"{text_tokenizer.vocab_size} is supported"
        )
    has_projection_bias = mapping.projection_bias_key is not None
    with torch.device("meta"):  # only names and shapes, to refuse a mismatch at once
        expected_state = build_embedder(
            model, text_tokenizer, projection_bias=has_projection_bias
        ).state_dict()
    state_dict = key_mapping.convert_from_checkpoint(
        mapping, tensors, expected_state, checkpoint_name
    )
    embedder = build_embedder(model, text_tokenizer, projection_bias=has_projection_bias)
    embedder.load_state_dict(state_dict)
    resize_ratio = UNICL_RESIZE_RATIO if mapping.is_unicl else 1.0
    return CheckpointWeights(
        model=model,
        state_dict=state_dict,
        embedder=embedder,
        log_scale=tensors[mapping.logit_scale_key].item(),
        bias=tensors[LOGIT_BIAS_KEY].item() if LOGIT_BIAS_KEY in tensors else None,
        resize_size=round(resize_ratio * model.image.image_size),
        activation_is_known=mapping.is_unicl or contents.is_openai or open_clip_config is not None,
    )


def build_embedder(
    model: ModelConfig, text_tokenizer: tokenizer.Tokenizer, *, projection_bias: bool
) -> Embedder:
    """Return an embedder with linear heads, whose weights are yet to be loaded."""
    with torch.random.fork_rng(devices=[]), _InitializationSkipper():
        image_encoder, text_encoder = (
            ImageEncoder(model.image),
            build_text_encoder(model, text_tokenizer),
        )
        image_head = nn.Linear(image_encoder.num_features, model.embed_dim, bias=projection_bias)
        text_head = nn.Linear(text_encoder.num_features, model.embed_dim, bias=False)
    return Embedder(image_encoder, text_encoder, None, image_head, text_head)


def list_normalization(name: str, stated: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return what is stated of mean and deviation of the pixels where timm's model has another.

    Args:
        name: Timm's model.
        stated: "mean" and "std", each None or three numbers.
    """
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return {
        key: list(value)
        for key, value in stated.items()
        if value is not None and (cfg is None or list(value) != list(getattr(cfg, key)))
    }


class _InitializationSkipper(TorchFunctionMode):
    """Skips the initialization of weights (half of the time), since they are overwritten."""

    skipped_functions = (Tensor.uniform_, Tensor.normal_, Tensor.erfinv_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in self.skipped_functions else func(*args, **(kwargs or {}))


# ---- the architecture, from the shapes -------------------------------------------------------


class _ShapeReader:
    """Shapes by key, with errors that name a missing key."""

    def __init__(self, tensors: Mapping[str, Tensor], checkpoint_name: str) -> None:
        self.tensors, self.checkpoint_name = tensors, checkpoint_name

    def __call__(self, key: str, ndim: int) -> list[int]:
        if key not in self.tensors:
            raise UserError(
                f"{self.checkpoint_name}: {key} is missing; a checkpoint must be complete"
            )
        shape = list(self.tensors[key].shape)
        if len(shape) != ndim or 0 in shape:
            raise UserError(
                f"{self.checkpoint_name}: {key} has shape {tuple(shape)}, expected {ndim} "
                "dimensions"
            )
        return shape

    def count_blocks(self, pattern: str) -> int:
        """Return how many numbers group 1 of `pattern` matches in more than 4 keys each."""
        block_numbers = [match[1] for key in self.tensors if (match := re.match(pattern, key))]
        return sum(block_numbers.count(number) > 4 for number in set(block_numbers))


def _infer_model_config(
    mapping: KeyMapping, shape_reader: _ShapeReader, quick_gelu: bool, facts: OpenClipConfig
) -> ModelConfig:
    vocab_size, width = shape_reader(mapping.map_text_key("embeddings.token_embedding.weight"), 2)
    context_length, _ = shape_reader(
        mapping.map_text_key("embeddings.position_embedding.weight"), 2
    )
    prefix = mapping.map_text_key("encoder.layers.0.").removesuffix("0.")
    text = TextConfig(
        width=width,
        layers=max(1, shape_reader.count_blocks(re.escape(prefix) + r"(\d+)\.")),
        heads=facts.text_heads or max(1, width // HEAD_DIM),
        context_length=context_length,
        vocab_size=vocab_size,
        tokenizer="clip" if vocab_size == CLIP_VOCAB_SIZE else "bpe",
        activation="quick_gelu" if quick_gelu else "gelu",
        layer_norm_eps=UNICL_LAYER_NORM_EPS if mapping.is_unicl else CLIP_LAYER_NORM_EPS,
    )
    if mapping.is_unicl:
        image = _infer_swin_config(mapping.map_image_key(""), shape_reader)
    elif mapping is key_mapping.CLIP_RESNET:
        image = _infer_resnet_config(shape_reader)
    else:
        image = _infer_vit_config(shape_reader, quick_gelu, facts.image_head_width)
    overlay = list_normalization(image.name, {"mean": facts.mean, "std": facts.std})
    if overlay:
        image = replace(image, options={**image.options, "pretrained_cfg_overlay": overlay})
    return ModelConfig(
        image=image, text=text, embed_dim=shape_reader(mapping.text_projection_key, 2)[1]
    )


def _infer_vit_config(
    shape_reader: _ShapeReader, quick_gelu: bool, head_width: int | None
) -> ImageConfig:
    width, _, patch_size, _ = shape_reader("visual.conv1.weight", 4)
    num_positions, _ = shape_reader("visual.positional_embedding", 2)
    mlp_width, _ = shape_reader("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)
    return ImageConfig(
        name=f"vit_base_patch32_clip_{'quickgelu_' if quick_gelu else ''}224",
        image_size=patch_size * round((num_positions - 1) ** 0.5),
        options={
            "patch_size": patch_size,
            "embed_dim": width,
            "depth": max(1, shape_reader.count_blocks(r"visual\.transformer\.resblocks\.(\d+)\.")),
            "num_heads": max(1, width // (head_width or HEAD_DIM_BY_WIDTH.get(width, HEAD_DIM))),
            "mlp_ratio": mlp_width / width,
        },
    )


def _infer_resnet_config(shape_reader: _ShapeReader) -> ImageConfig:
    blocks = tuple(
        shape_reader.count_blocks(rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)
    )
    width = shape_reader("visual.layer1.0.conv1.weight", 4)[0]
    num_positions = shape_reader("visual.attnpool.positional_embedding", 2)[0]
    if (blocks, width) not in RESNET_NAMES:
        supported_names = ", ".join(name.removesuffix("_clip") for name in RESNET_NAMES.values())
        raise UserError(
            f"{shape_reader.checkpoint_name}: a ResNet of {blocks} blocks, {width} wide, is none "
            f"of CLIP's {supported_names}"
        )
    return ImageConfig(
        name=RESNET_NAMES[blocks, width], image_size=32 * round((num_positions - 1) ** 0.5)
    )


def _infer_swin_config(prefix: str, shape_reader: _ShapeReader) -> ImageConfig:
    stages = range(shape_reader.count_blocks(re.escape(prefix) + r"layers\.(\d+)\."))
    bias_table_shapes = [
        shape_reader(f"{prefix}layers.{stage}.blocks.0.attn.relative_position_bias_table", 2)
        for stage in stages
    ]
    depths = [
        shape_reader.count_blocks(re.escape(prefix) + rf"layers\.{stage}\.blocks\.(\d+)\.")
        for stage in stages
    ]
    window_size = (round(bias_table_shapes[0][0] ** 0.5) + 1) // 2
    return ImageConfig(
        name="swin_tiny_patch4_window7_224",
        image_size=32 * window_size,
        options={
            "embed_dim": shape_reader(f"{prefix}patch_embed.proj.weight", 4)[0],
            "depths": depths,
            "num_heads": [heads for _, heads in bias_table_shapes],
            "window_size": window_size,
        },
    )
