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

TABLE = compose.CONF / "sizes.yaml"
HEADER = "# Sizes of the models, written by: python -m uniclip.models.profile\n"
FIELDS = ("image_parameters", "text_parameters", "image_gflops", "text_gflops")


def table() -> dict[str, dict[str, float]]:
    """Preset -> `FIELDS`: parameters of the encoders, 10^9 operations of one forward of each."""
    found: dict[str, dict[str, float]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return found


def describe(preset: str) -> str:
    """One preset's sizes as a phrase, parameters in millions; "" for one not in the table."""
    sizes = table().get(preset)
    if sizes is None:
        return ""
    towers = (
        f"{tower} {sizes[f'{tower}_parameters'] / 1e6:5.1f} M, "
        f"{sizes[f'{tower}_gflops']:8.4g} GFLOPs"
        for tower in ("image", "text")
    )
    return "; ".join(towers)


def preset(path: Path) -> ModelConfig:
    """The model configuration that a preset file alone gives."""
    config: ModelConfig = bind(ModelConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


def measure(config: ModelConfig) -> dict[str, float]:
    """`FIELDS` of a model, of which not a number is stored or computed.

    Raises:
        UserError: the image model cannot be built (see `ImageEncoder`).
    """
    import torch

    from uniclip.models.encoders import ImageEncoder, TextEncoder

    side, context = config.image.pixels, config.text.context
    with torch.device("meta"):
        image, text = ImageEncoder(config.image), TextEncoder(config.text, _Ids(config.text))
        pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
        tokens = torch.zeros(1, context, dtype=torch.int64)
    return {
        "image_parameters": _parameters(image),
        "text_parameters": _parameters(text),
        "image_gflops": _gflops(image, pixels),
        "text_gflops": _gflops(text.body, tokens),
    }


class _Ids:
    """The special ids of a vocabulary that is as large as it may be."""

    def __init__(self, config: TextConfig) -> None:
        self.size = config.vocabulary
        self.bos, self.eos, self.pad = self.size - 2, self.size - 1, 0


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _gflops(module: nn.Module, given: Tensor) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module.eval()(given)
    return round(counter.get_total_flops() / 1e9, 4)


def main() -> None:
    """Measure every preset and rewrite the table."""
    rows: dict[str, Any] = {
        path.stem: measure(preset(path)) for path in sorted((compose.CONF / "model").glob("*.yaml"))
    }
    text = yaml.safe_dump(rows, sort_keys=True, default_flow_style=False)
    TABLE.write_text(HEADER + text, encoding="utf-8")
    print(f"{TABLE}: {len(rows)} models")


if __name__ == "__main__":
    main()
