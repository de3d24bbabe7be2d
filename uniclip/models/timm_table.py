"""The table of timm's models: size, operations and input of each, for `list models <pattern>`.

`python -m uniclip.models.timm_table` measures every model of the installed timm and rewrites
`uniclip/config/timm_models.tsv`, which is read without importing timm or torch. Parameters and
floating-point operations are counted without the classifier, as in `uniclip.models.profile`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.config.timm_models import TABLE_PATH, TimmModel, format_table

if TYPE_CHECKING:
    from torch import nn


def measure_model(name: str) -> TimmModel:
    """Return the row of a timm model, without allocating its weights where that is possible."""
    import timm
    import torch

    from uniclip.models.profile import count_parameters, measure_gflops

    with torch.device("meta"):
        try:
            body = timm.create_model(name, pretrained=False, num_classes=0)
        except (RuntimeError, NotImplementedError):  # computes with the values of its tensors
            return TimmModel(name=name, parameters=None, gflops=None, image_size=_get_size(name))
        pixels = torch.zeros(1, *_get_cfg(body)["input_size"])
    try:
        gflops: float | None = measure_gflops(body, pixels)
    except Exception:  # some operations have no form for the meta device
        gflops = None
    return TimmModel(
        name=name,
        parameters=count_parameters(body),
        gflops=gflops,
        image_size=_get_size(name),
    )


def _get_cfg(body: nn.Module) -> dict[str, tuple[int, int, int]]:
    cfg: dict[str, tuple[int, int, int]] = body.pretrained_cfg  # type: ignore[assignment]
    return cfg


def _get_size(name: str) -> int:
    """Return the shorter side of the images for which a model was made, in pixels."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return 224 if cfg is None else min(cfg.input_size[1:])


def main() -> None:
    """Measure every model of timm and rewrite the table."""
    import timm

    rows = []
    for name in timm.list_models():
        rows.append(measure_model(name))
        print(rows[-1], flush=True)
    TABLE_PATH.write_text(format_table(rows, timm.__version__), encoding="utf-8")
    print(f"{TABLE_PATH}: {len(rows)} models")


if __name__ == "__main__":
    main()
