"""The size of the model presets: parameters, and floating-point operations of a forward pass.

`python -m uniclip.models.profile` measures every preset of `uniclip/conf/model` and rewrites the
table `uniclip/conf/sizes.yaml`, which the command line shows without importing torch. A multiply
and an add are two operations, as in `torch.utils.flop_counter`; only matrix multiplications,
convolutions and attention are counted. The input is one image, and one text of the full context
length; heads are not counted. Nothing is computed: the models are on the meta device.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from uniclip.config import ModelConfig, TextConfig, compose
from uniclip.config.binding import bind

if TYPE_CHECKING:
    from torch import Tensor, nn

PROFILE_PATH = compose.CONF / "sizes.yaml"
FILE_HEADER = "# Sizes of the models, written by: python -m uniclip.models.profile\n"
PROFILE_FIELDS = ("image_parameters", "text_parameters", "image_gflops", "text_gflops")


def read_profiles() -> dict[str, dict[str, float]]:
    """Return `PROFILE_FIELDS` by preset: parameters, and 10^9 operations, of each encoder."""
    profiles: dict[str, dict[str, float]] = yaml.safe_load(PROFILE_PATH.read_text(encoding="utf-8"))
    return profiles


def describe_preset(preset: str) -> str:
    """Return the sizes of a preset as a phrase; "" for a preset that is not in the table."""
    profile = read_profiles().get(preset)
    if profile is None:
        return ""
    tower_phrases = (
        f"{tower} {profile[f'{tower}_parameters'] / 1e6:5.1f} M, "
        f"{profile[f'{tower}_gflops']:8.4g} GFLOPs"
        for tower in ("image", "text")
    )
    return "; ".join(tower_phrases)


def load_preset(path: Path) -> ModelConfig:
    """Return the model configuration of a preset file."""
    config: ModelConfig = bind(ModelConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


def profile_model(config: ModelConfig) -> dict[str, float]:
    """Return `PROFILE_FIELDS` of a model, without allocating its weights.

    Raises:
        UserError: the image model cannot be built (see `ImageEncoder`).
    """
    import torch

    from uniclip.models.encoders import ImageEncoder, TextEncoder

    image_size, context_length = config.image.image_size, config.text.context_length
    with torch.device("meta"):
        image_encoder, text_encoder = (
            ImageEncoder(config.image),
            TextEncoder(config.text, _VocabularyStub(config.text)),
        )
        pixels = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)
        tokens = torch.zeros(1, context_length, dtype=torch.int64)
    return {
        "image_parameters": count_parameters(image_encoder),
        "text_parameters": count_parameters(text_encoder),
        "image_gflops": measure_gflops(image_encoder, pixels),
        "text_gflops": measure_gflops(text_encoder.body, tokens),
    }


class _VocabularyStub:
    """The ids of a vocabulary of the largest size that the configuration allows."""

    def __init__(self, config: TextConfig) -> None:
        self.vocab_size = config.vocab_size
        self.bos, self.eos, self.pad = self.vocab_size - 2, self.vocab_size - 1, 0


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def measure_gflops(module: nn.Module, model_input: Tensor) -> float:
    """Return the 10^9 floating-point operations of a forward pass."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module.eval()(model_input)
    return round(counter.get_total_flops() / 1e9, 4)


def main() -> None:
    """Profile every preset and rewrite the table."""
    profiles = {
        path.stem: profile_model(load_preset(path))
        for path in sorted((compose.CONF / "model").glob("*.yaml"))
    }
    text = yaml.safe_dump(profiles, sort_keys=True, default_flow_style=False)
    PROFILE_PATH.write_text(FILE_HEADER + text, encoding="utf-8")
    print(f"{PROFILE_PATH}: {len(profiles)} models")


if __name__ == "__main__":
    main()
