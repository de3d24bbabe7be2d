"""A training script that knows nothing of uniclip; `ablation/plain_torch.yaml` ablates it."""

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--hidden", type=int, default=32)
arguments = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(arguments.seed)


def draw_samples(num_samples, generator):
    """Return points on two noisy spirals and which spiral they are on."""
    spiral = torch.randint(2, (num_samples,), generator=generator)
    angle = 9 * torch.rand(num_samples, generator=generator) + 0.5
    turned = angle + torch.pi * spiral
    points = torch.stack([turned.cos(), turned.sin()], 1) * angle[:, None] / 9
    return points + 0.03 * torch.randn(num_samples, 2, generator=generator), spiral


hidden = arguments.hidden
model = nn.Sequential(
    nn.Linear(2, hidden), nn.ReLU(), nn.Dropout(arguments.dropout), nn.Linear(hidden, 2)
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
checkpoint, start = arguments.out / "checkpoint.pt", 0
if checkpoint.exists():
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    start = state["step"]
for step in range(start + 1, arguments.steps + 1):
    batch = torch.Generator().manual_seed(1000003 * arguments.seed + step)
    points, spiral = draw_samples(64, batch)
    loss = nn.functional.cross_entropy(model(points), spiral)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    record = {
        "step": step,
        "loss": loss.item(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    record["batch"] = hashlib.sha1(points.numpy().tobytes()).hexdigest()
    with open(arguments.out / "metrics.jsonl", "a") as log:
        log.write(json.dumps(record) + "\n")
    if step % 50 == 0 or step == arguments.steps:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save({**state, "rng": torch.get_rng_state()}, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)
model.eval()
points, spiral = draw_samples(2000, torch.Generator().manual_seed(7))
accuracy = (model(points).argmax(1) == spiral).float().mean().item()
(arguments.out / "scores.json").write_text(json.dumps({"accuracy": accuracy}))
