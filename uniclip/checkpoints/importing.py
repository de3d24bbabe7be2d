"""Published models as models of ours: the same features, from a checkpoint that fits whole.

The architecture is read off the tensors' shapes; encoders are timm's and transformers', projections
linear. What shapes do not tell is stated here: heads are 64 wide (open_clip's largest excepted),
UniCL sees 224 pixels, and the activation of CLIP's Transformers is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from uniclip.checkpoints import read as checkpoint_files
from uniclip.checkpoints.pretrained import Pictures, Pretrained
from uniclip.config import (
    CLIP_VOCABULARY,
    ClipMethod,
    CsvData,
    ImageConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
)
from uniclip.data.text import tokenizer
from uniclip.errors import UserError
from uniclip.methods.clip import Clip
from uniclip.models.embedder import Embedder
from uniclip.models.encoders import ImageEncoder, TextEncoder

HEAD = 64
LARGER_HEADS = {1280: 80, 1408: 88, 1664: 104}
"""Width of a vision Transformer -> width of its heads, where it is not 64 (open_clip)."""
RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 4, 6, 3), 64): "resnet50_clip",
    ((3, 4, 23, 3), 64): "resnet101_clip",
    ((4, 6, 10, 6), 80): "resnet50x4_clip",
    ((6, 8, 18, 8), 96): "resnet50x16_clip",
    ((3, 15, 36, 10), 128): "resnet50x64_clip",
}
"""Blocks of each stage and width -> timm's name."""
UNICL_RESIZE = 256 / 224
"""UniCL's evaluation resizes the shorter side to 256 pixels before it crops 224."""
UNICL_EPSILON = 1e-12
OLD_TEXT = "text."
"""Prefix of the text tower in open_clip's models of separate towers."""


class Imported(Pretrained):
    """A published model, for use; PIL images are prepared as its authors do.

    resize: the shorter side of a picture before the centre crop, in pixels.
    """

    def __init__(
        self,
        embedder: Embedder,
        method: Clip,
        words: tokenizer.Tokenizer,
        config: RunConfig,
        resize: int,
    ) -> None:
        super().__init__(embedder, method, words, config)
        crop = config.model.image.pixels
        self._prepare = v2.Compose(
            [v2.Resize(resize, v2.InterpolationMode.BICUBIC), v2.CenterCrop(crop)]
        )

    def _canvas(self, pictures: Pictures) -> NDArray[np.uint8]:
        if isinstance(pictures, np.ndarray) or not len(pictures):
            return super()._canvas(pictures)
        squares = [self._prepare(_rgb(picture)) for picture in pictures]
        return np.stack([np.asarray(square, np.uint8).transpose(2, 0, 1) for square in squares])


@dataclass(frozen=True)
class Weights:
    """A checkpoint's tensors under our names, and what they are the weights of."""

    model: ModelConfig
    state: dict[str, Tensor]
    """Of an `Embedder` with linear heads."""
    embedder: Embedder
    log_scale: float
    resize: int
    """Pixels of the shorter side before the crop."""
    activation_known: bool
    """Of the Transformers: the file says it. Else it is told, or open_clip's default."""


def load(path: str | Path, *, trust: bool = False, quick_gelu: bool | None = None) -> Imported:
    """The model of a checkpoint of CLIP, open_clip or UniCL, on the CPU, ready to embed.

    trust: open a TorchScript archive (OpenAI's own files), which is a program.
    quick_gelu: the activation of a CLIP of Transformers; shapes don't tell. None: as OpenAI's where
        the file says that it is theirs, else open_clip's default, the GELU. UniCL's is known.

    Raises:
        UserError: no such file, a key missing, unexpected, of another shape or without real and
            finite numbers, or an architecture that we do not know; CLIP's vocabulary is not
            installed.
    """
    words = tokenizer.clip()
    weights = read(Path(path), words, trust=trust, quick_gelu=quick_gelu)
    data = CsvData(size=weights.model.image.pixels)
    config = RunConfig(data=data, model=weights.model, method=ClipMethod())
    method = Clip(config)
    with torch.no_grad():
        method.log_scale.fill_(weights.log_scale)
    return Imported(weights.embedder.eval(), method, words, config, weights.resize)


def read(
    path: Path, words: tokenizer.Tokenizer, *, trust: bool = False, quick_gelu: bool | None = None
) -> Weights:
    """The weights of a published checkpoint, all of them or none; see `load`."""
    contents = checkpoint_files.read(path, trust=trust)
    tensors, where = contents.tensors, str(path)
    layout = key_mapping.recognised(tensors, where)
    quick = True
    if not layout.is_unicl:
        tensors = {key.removeprefix(OLD_TEXT): value for key, value in tensors.items()}
        quick = contents.openai if quick_gelu is None else quick_gelu
    shapes = _Shapes(tensors, where)
    model = _model(layout, shapes, quick)
    if model.text.vocabulary != words.size:
        raise UserError(
            f"{where} has a vocabulary of {model.text.vocabulary} tokens; only CLIP's of "
            f"{words.size} is known"
        )
    bias = layout.projection_bias is not None
    with torch.device("meta"):  # names and shapes alone: what does not fit is refused at once
        expected = _embedder(model, words, bias=bias).state_dict()
    state = key_mapping.gather(layout, tensors, expected, where)
    embedder = _embedder(model, words, bias=bias)
    embedder.load_state_dict(state)
    stretch = UNICL_RESIZE if layout.is_unicl else 1.0
    return Weights(
        model=model,
        state=state,
        embedder=embedder,
        log_scale=tensors[layout.scale].item(),
        resize=round(stretch * model.image.pixels),
        activation_known=layout.is_unicl or contents.openai,
    )


def _embedder(model: ModelConfig, words: tokenizer.Tokenizer, *, bias: bool) -> Embedder:
    with torch.random.fork_rng(devices=[]), _Undrawn():
        image, text = ImageEncoder(model.image), TextEncoder(model.text, words)
        image_head = nn.Linear(image.features, model.embedding, bias=bias)
        text_head = nn.Linear(text.features, model.embedding, bias=False)
    return Embedder(image, text, None, image_head, text_head)


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of initial weights, half of the time, which are overwritten anyway."""

    drawn = (Tensor.uniform_, Tensor.normal_, Tensor.erfinv_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in self.drawn else func(*args, **(kwargs or {}))


# ---- the architecture, from the shapes -------------------------------------------------------


class _Shapes:
    """Shapes by key; who asks for one that is missing is told its name."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.tensors, self.where = tensors, where

    def __call__(self, key: str, sides: int) -> list[int]:
        if key not in self.tensors:
            raise UserError(f"{self.where}: {key} is missing; a checkpoint is imported whole")
        shape = list(self.tensors[key].shape)
        if len(shape) != sides or 0 in shape:
            raise UserError(f"{self.where}: {key} has shape {tuple(shape)}, expected {sides} sides")
        return shape

    def count(self, pattern: str) -> int:
        """How many different numbers stand in group 1 of `pattern`, each in several keys."""
        numbers = [m[1] for key in self.tensors if (m := re.match(pattern, key))]
        return sum(numbers.count(n) > 4 for n in set(numbers))


def _model(layout: key_mapping.Layout, shapes: _Shapes, quick: bool) -> ModelConfig:
    tokens, width = shapes(layout.text("embeddings.token_embedding.weight"), 2)
    context, _ = shapes(layout.text("embeddings.position_embedding.weight"), 2)
    prefix = layout.text("encoder.layers.0.").removesuffix("0.")
    text = TextConfig(
        width=width,
        layers=max(1, shapes.count(re.escape(prefix) + r"(\d+)\.")),
        heads=max(1, width // HEAD),
        context=context,
        vocabulary=tokens,
        tokenizer="clip" if tokens == CLIP_VOCABULARY else "bpe",
        activation="quick_gelu" if quick else "gelu",
        norm_epsilon=UNICL_EPSILON if layout.is_unicl else 1e-5,
    )
    if layout.is_unicl:
        image = _swin(layout.image(""), shapes)
    elif layout is key_mapping.CLIP_RESNET:
        image = _resnet(shapes)
    else:
        image = _vit(shapes, quick)
    return ModelConfig(image=image, text=text, embedding=shapes(layout.text_projection, 2)[1])


def _vit(shapes: _Shapes, quick: bool) -> ImageConfig:
    width, _, patch, _ = shapes("visual.conv1.weight", 4)
    places, _ = shapes("visual.positional_embedding", 2)
    hidden, _ = shapes("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)
    return ImageConfig(
        name=f"vit_base_patch32_clip_{'quickgelu_' if quick else ''}224",
        pixels=patch * round((places - 1) ** 0.5),
        options={
            "patch_size": patch,
            "embed_dim": width,
            "depth": max(1, shapes.count(r"visual\.transformer\.resblocks\.(\d+)\.")),
            "num_heads": max(1, width // LARGER_HEADS.get(width, HEAD)),
            "mlp_ratio": hidden / width,
        },
    )


def _resnet(shapes: _Shapes) -> ImageConfig:
    blocks = tuple(shapes.count(rf"visual\.layer{s}\.(\d+)\.") for s in (1, 2, 3, 4))
    width = shapes("visual.layer1.0.conv1.weight", 4)[0]
    places = shapes("visual.attnpool.positional_embedding", 2)[0]
    if (blocks, width) not in RESNETS:
        known = ", ".join(name.removesuffix("_clip") for name in RESNETS.values())
        raise UserError(
            f"{shapes.where}: a ResNet of {blocks} blocks, {width} wide, is none of CLIP's {known}"
        )
    return ImageConfig(name=RESNETS[blocks, width], pixels=32 * round((places - 1) ** 0.5))


def _swin(prefix: str, shapes: _Shapes) -> ImageConfig:
    stages = range(shapes.count(re.escape(prefix) + r"layers\.(\d+)\."))
    table = [
        shapes(f"{prefix}layers.{s}.blocks.0.attn.relative_position_bias_table", 2) for s in stages
    ]
    depths = [shapes.count(re.escape(prefix) + rf"layers\.{s}\.blocks\.(\d+)\.") for s in stages]
    window = (round(table[0][0] ** 0.5) + 1) // 2
    return ImageConfig(
        name="swin_tiny_patch4_window7_224",
        pixels=32 * window,
        options={
            "embed_dim": shapes(f"{prefix}patch_embed.proj.weight", 4)[0],
            "depths": depths,
            "num_heads": [heads for _, heads in table],
            "window_size": window,
        },
    )


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


__all__: Sequence[str] = ("Imported", "Weights", "load", "read")
