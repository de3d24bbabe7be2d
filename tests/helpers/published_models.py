"""Small random models in the formats of published ones."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from transformers import SwinConfig, SwinModel

MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
TEXTS = ["a dog", "Two cats!! on a mat,  isn't it?", "", "word " * 100]


def pictures(side: int, n: int = 3) -> Tensor:
    """Return images of random squares, (n, 3, side, side) uint8."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return coarse.repeat_interleave(side // 8, 2).repeat_interleave(side // 8, 3)


def clip(quick: bool = False, **vision: Any) -> CLIP:
    """Return open_clip's model with towers of two blocks, 128 wide, at its initialization."""
    torch.manual_seed(0)
    image = {"layers": 2, "width": 128, "patch_size": 16, "image_size": 64, **vision}
    text = CLIPTextCfg(width=128, layers=2, heads=2)
    return CLIP(64, CLIPVisionCfg(**image), text, quick_gelu=quick).eval()


class Unicl(nn.Module):
    """An independent UniCL: transformers' Swin, open_clip's text tower with UniCL's epsilon."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        swin = SwinConfig(embed_dim=24, depths=[2, 1, 2, 1], num_heads=[1, 2, 3, 4])
        self.swin = SwinModel(swin).eval()
        for name, parameter in self.swin.named_parameters():
            nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.1)
        self.words = clip(quick=True)
        for module in self.words.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-12
        self.projection = nn.Parameter(torch.randn(192, 64) * 0.1)

    @torch.no_grad()
    def images(self, pixels: Tensor) -> Tensor:
        pooled = self.swin((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).pooler_output
        return nn.functional.normalize(pooled @ self.projection, dim=-1)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Tensor:
        return self.words.encode_text(open_clip.tokenize(texts), normalize=True)

    def released(self, layout: str = "main") -> dict[str, Tensor]:
        """Return the state dict with the keys of the release."""
        image, text, of_image, of_text = {
            "main": ("image_encoder", "text_encoder", "image_projection", "text_projection"),
            "old": ("visual", "text", "vision_projection", "text_projection"),
            "benchmark": ("image_encoder", "lang_encoder", "image_projection", "lang_projection"),
        }[layout]
        words = self.words.state_dict()
        kept = ("token_embedding", "positional_embedding", "transformer.", "ln_final")
        tensors = {
            f"{text}.{key.removeprefix('transformer.')}": value
            for key, value in words.items()
            if key.startswith(kept)
        }
        tensors |= {f"{image}.{k}": v for k, v in original_swin(self.swin.state_dict()).items()}
        tensors[of_image] = self.projection.detach()
        tensors[of_text] = words["text_projection"]
        return {**tensors, "logit_scale": torch.tensor(4.0)}


def original_swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert transformers' keys to the original Swin's, with the buffers of its attention."""
    swaps = [
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.norm", "patch_embed.norm"),
        ("encoder.layers", "layers"),
        ("attention.relative_position_bias.", "attn."),
        ("attention.o_proj", "attn.proj"),
        ("attention.", "attn."),
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
    ]
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        for theirs, original in swaps:
            key = key.replace(theirs, original)
        renamed["norm." + key.split(".")[1] if key.startswith("layernorm.") else key] = value
    for key in [k for k in renamed if ".q_proj." in k]:
        parts = [renamed.pop(key.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        renamed[key.replace("q_proj", "qkv")] = torch.cat(parts)
    renamed["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    renamed.setdefault("layers.0.blocks.0.attn.relative_position_index", torch.zeros(49, 49).long())
    return renamed


class CfgNode(dict):
    """Pickles like yacs' class: a dictionary with attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.__dict__["__immutable__"] = True
        self.__dict__["__deprecated_keys__"] = set()


CfgNode.__module__ = "yacs.config"


def save_with_configuration(tensors: dict[str, Tensor], path: Path) -> None:
    """Save a training checkpoint as UniCL's release: the configuration is a yacs CfgNode."""
    package, module = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("yacs", "yacs.config")}
    sys.modules.update({"yacs": package, "yacs.config": module})
    try:
        inner = CfgNode({"NAME": "clip_swin", "DEPTHS": [2, 1, 2, 1], "RATE": 0.2, "SIZE": (1, 2)})
        config = CfgNode({"MODEL": inner, "TAG": None})
        torch.save({"model": tensors, "epoch": 3, "max_accuracy": 0.5, "config": config}, path)
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (self.command,)


def scripted(model: CLIP, path: Path) -> None:
    """Save a TorchScript archive of half-precision weights with OpenAI's metadata."""
    side, context = 64, 77
    model = model.half().float()
    for name, value in (("input_resolution", side), ("context_length", context)):
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    inputs = torch.zeros(1, 3, side, side), torch.zeros(1, context, dtype=torch.int64)
    torch.jit.trace(model, inputs, check_trace=False).save(str(path))
