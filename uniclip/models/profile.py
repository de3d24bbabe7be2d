"""How large the model presets are: parameters, and floating-point operations of one forward.

`python -m uniclip.models.profile` measures every preset of `uniclip/conf/model` and rewrites the
table `uniclip/conf/sizes.yaml`, which the command line shows without importing torch. A multiply
and an add are two operations, as in `torch.utils.flop_counter`; only matrix multiplications,
convolutions and attention count. One picture, and one text of full context; encoders without their
heads. Nothing is computed: the models stand on the meta device.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from uniclip.config import ModelConfig, TextConfig, compose
from uniclip.config.binding import bind

if TYPE_CHECKING:
    from torch import Tensor, nn

PROFILE_PATH = compose.CONF / "sizes.yaml"
FILE_HEADER = "# Sizes of the models, written by: python -m uniclip.models.profile\n"
PROFILE_FIELDS = ("image_parameters", "text_parameters", "image_gflops", "text_gflops")


def read_profiles() -> dict[str, dict[str, float]]:
    """Preset -> `FIELDS`: parameters of the encoders, 10^9 operations of one forward of each."""
    profiles: dict[str, dict[str, float]] = yaml.safe_load(PROFILE_PATH.read_text(encoding="utf-8"))
    return profiles


def describe_preset(preset: str) -> str:
    """One preset's sizes as a phrase, parameters in millions; "" for one not in the table."""
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
    """The model configuration that a preset file alone gives."""
    config: ModelConfig = bind(ModelConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


def profile_model(config: ModelConfig) -> dict[str, float]:
    """`FIELDS` of a model, of which not a number is stored or computed.

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
        "image_parameters": _count_parameters(image_encoder),
        "text_parameters": _count_parameters(text_encoder),
        "image_gflops": _measure_gflops(image_encoder, pixels),
        "text_gflops": _measure_gflops(text_encoder.body, tokens),
    }


class _VocabularyStub:
    """The special ids of a vocabulary that is as large as it may be."""

    def __init__(self, config: TextConfig) -> None:
        self.vocab_size = config.vocab_size
        self.bos, self.eos, self.pad = self.vocab_size - 2, self.vocab_size - 1, 0


def _count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _measure_gflops(module: nn.Module, model_input: Tensor) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module.eval()(model_input)
    return round(counter.get_total_flops() / 1e9, 4)


def main() -> None:
    """Measure every preset and rewrite the table."""
    profiles: dict[str, Any] = {
        path.stem: profile_model(load_preset(path))
        for path in sorted((compose.CONF / "model").glob("*.yaml"))
    }
    text = yaml.safe_dump(profiles, sort_keys=True, default_flow_style=False)
    PROFILE_PATH.write_text(FILE_HEADER + text, encoding="utf-8")
    print(f"{PROFILE_PATH}: {len(profiles)} models")


if __name__ == "__main__":
    main()
