"""Memory and time of a training step with activation checkpointing, as ratios.

A step of CLIP on a Vision Transformer, with and without `train.activation_checkpointing`, in turn;
the losses and gradients of both are equal (`tests/uniclip/models`).
"""

from __future__ import annotations

from tests.benchmarks.measure import Measurement, Repetition, measure_step
from tests.benchmarks.table import Options, Table
from tests.helpers.small_runs import tiny
from uniclip import numerics
from uniclip.training import trainer

DEPTH, BATCH_SIZE = 12, 64
QUICK_DEPTH, QUICK_BATCH_SIZE = 2, 8
MODEL = {"embed_dim": 192, "num_heads": 3, "patch_size": 16}


def run(options: Options) -> Table:
    """Measure a step without and with activation checkpointing."""
    numerics.apply(1)
    depth = QUICK_DEPTH if options.quick else DEPTH
    batch_size = QUICK_BATCH_SIZE if options.quick else BATCH_SIZE
    measurements = {
        is_on: measure(is_on, depth, batch_size, options.quick) for is_on in (False, True)
    }
    rows = [
        {
            "activation checkpointing": is_on,
            "added memory, MiB": measurement.mib,
            "memory / without": measurement.mib / measurements[False].mib,
            "time / without": measurement.equivalent_flops / measurements[False].equivalent_flops,
        }
        for is_on, measurement in measurements.items()
    ]
    what = f"a step of CLIP, {batch_size} images of 112 px, width 192, {depth} blocks"
    return Table("activation_checkpointing", rows, {"step": what})


def measure(is_on: bool, depth: int, batch_size: int, is_quick: bool) -> Measurement:
    """Return time and memory of a step."""
    config = tiny(
        data={"name": "scenes", "image_size": 112},
        method={"name": "clip"},
        views={"num_weak": 1, "num_strong": 0},
        model={
            "image": {
                "name": "vit_tiny_patch16_224",
                "image_size": 112,
                "options": {**MODEL, "depth": depth},
            }
        },
        train={"batch_size": batch_size, "activation_checkpointing": is_on},
    )
    batches, state = trainer.setup_training(config)
    batch = batches.build_batch(0)
    rounds = Repetition(rounds=1, burst_seconds=0.05) if is_quick else Repetition(rounds=3)
    return measure_step(lambda: trainer.training_step(state, batch), rounds)
