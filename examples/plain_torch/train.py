"""A training script that knows nothing of uniclip; `ablation/plain_torch.yaml` ablates it."""

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from torch import nn

parser = argparse.ArgumentParser()
for flag, kind in (
    ("seed", int),
    ("out", Path),
    ("steps", int),
    ("dropout", float),
    ("hidden", int),
):
    parser.add_argument(f"--{flag}", type=kind, required=True)
args = parser.parse_args()


def draw_samples(num_samples, seed):
    """Return points on two noisy spirals, and which of the two each is on."""
    draws = torch.Generator().manual_seed(seed)
    spiral = torch.randint(2, (num_samples,), generator=draws)
    radius = torch.rand(num_samples, generator=draws)
    angle = 9 * radius + torch.pi * spiral
    points = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]
    return points + 0.03 * torch.randn(num_samples, 2, generator=draws), spiral


torch.set_num_threads(1)
torch.manual_seed(args.seed)
layers = [nn.Linear(2, args.hidden), nn.ReLU(), nn.Dropout(args.dropout), nn.Linear(args.hidden, 2)]
model = nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
parameters = sum(p.numel() for p in model.parameters())
checkpoint, start = args.out / "checkpoint.pt", 0
if checkpoint.exists():  # an earlier attempt was interrupted
    start, weights, moments, rng_state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    torch.set_rng_state(rng_state)
for step in range(start + 1, args.steps + 1):
    points, spiral = draw_samples(64, 1000003 * args.seed + step)
    loss = nn.functional.cross_entropy(model(points), spiral)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    batch = hashlib.sha1(points.numpy().tobytes()).hexdigest()
    record = {"step": step, "loss": loss.item(), "parameters": parameters, "batch": batch}
    with open(args.out / "metrics.jsonl", "a") as log:
        log.write(json.dumps(record) + "\n")
    if step % 50 == 0:
        state = [step, model.state_dict(), optimizer.state_dict(), torch.get_rng_state()]
        torch.save(state, args.out / "new.pt")
        os.replace(args.out / "new.pt", checkpoint)
points, spiral = draw_samples(2000, 7)
accuracy = (model.eval()(points).argmax(1) == spiral).float().mean().item()
(args.out / "scores.json").write_text(json.dumps({"accuracy": accuracy}))
