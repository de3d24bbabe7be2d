"""What each process computes for `test_distributed.py`; a module, because it is spawned."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import torch
import torch.distributed as dist
from torch.nn import functional as F

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup, get_process_group
from uniclip.losses.image_text import clip_loss, image_to_text_loss, unicl_loss
from uniclip.losses.multi_positive import multi_positive
from uniclip.losses.sigmoid import siglip_loss
from uniclip.losses.similarity import DomainSimilarity

SAMPLES, IMAGES, WIDTH = 8, 2, 5
TAUS, OFFSETS = (0.05, 0.2, 0.5), (0.3, 0.0, -0.4)
COUNTS = {
    2: {"even": (4, 4), "uneven": (7, 1), "nobody": (8, 0)},
    4: {"even": (2, 2, 2, 2), "uneven": (3, 1, 2, 2), "nobody": (5, 0, 3, 0)},
}
"""Samples of each process."""
CHUNKS = {"dense": None, "streamed": 3}
FAMILY = {
    "mp_nce": {},
    "mp_nce, weighted": dict(weights=(0.0, 1.0, 2.0)),
    "sup_con": dict(denominator="all"),
    "mil_nce": dict(denominator="all", aggregate="inside"),
    "multi_view_info_nce": dict(negatives="slot", weights="uniform"),
    "negatives by domain": dict(negatives="domain"),
    "mp_nce, cold": {},
    "mp_nce, very cold": {},
}
COLDER = {"mp_nce, cold": 0.01, "mp_nce, very cold": 0.001}
"""Temperatures at which streamed scores are shifted, and at which each row needs its maximum."""
LOSSES = [*FAMILY, "clip", "unicl", "image to text", "siglip"]
SYMMETRIC_LOSSES = ("siglip",)
"""Losses whose pairs have no anchor: embeddings of others are never constants."""
FORMS = {"local": (True, True), "global": (False, False), "published": (True, False)}
"""open_clip's local_loss and gather_with_grad."""

Result = tuple[torch.Tensor, list[torch.Tensor]]


def open_clip_loss() -> ModuleType:
    """Import open_clip's loss.py alone: importing the package takes seconds."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("loss.py")
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def embeddings() -> torch.Tensor:
    """Return unit rows, (samples, images + 1, D), the text last; two samples have one id."""
    generator = torch.Generator().manual_seed(5)
    shape = (SAMPLES, IMAGES + 1, WIDTH)
    return F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)


def compute_share(name: str, chunk: int | None, rows: slice, processes: ProcessGroup) -> Result:
    """Return a process's contribution to a loss of the samples `rows`, and its gradients."""
    z = embeddings()[rows].requires_grad_()
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])[rows]
    if name in FAMILY:
        similarity = DomainSimilarity().double()
        with torch.no_grad():
            taus = torch.tensor(TAUS, dtype=torch.float64) * COLDER.get(name, 1)
            similarity.log_scale.copy_(-taus.log())
            similarity.offset.copy_(torch.tensor(OFFSETS))
        slot = torch.arange(IMAGES + 1).repeat(len(z))
        sample, domain = ids.repeat_interleave(IMAGES + 1), (slot == IMAGES).long()
        arguments = (z.flatten(0, 1), sample, domain, slot, similarity)
        loss = multi_positive(*arguments, chunk=chunk, process_group=processes, **FAMILY[name])
        leaves = [z, similarity.log_scale, similarity.offset]
    else:
        scale, bias = build_numbers()
        image, text, options = z[:, 0], z[:, -1], dict(chunk=chunk, process_group=processes)
        if name == "clip":
            loss = clip_loss(image, text, scale, **options)
        elif name == "siglip":
            loss = siglip_loss(image, text, scale, bias, **options)
        elif name == "image to text":
            loss = image_to_text_loss(image, text, scale, **options)
        else:
            loss = unicl_loss(image, text, ids - (ids == 3) * 4, scale, **options)
        leaves = [z, scale, bias]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return loss.detach(), list(gradients)


def build_numbers() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a scale and a bias of the logits."""
    scale, bias = torch.tensor([20.0, -5.0], dtype=torch.float64)
    return scale.requires_grad_(), bias.requires_grad_()


def compute_open_clip_siglip_share(rows: slice, rank: int, world: int) -> Result:
    """Return open_clip's sigmoid loss of the same pairs, and its gradients."""
    z, (scale, bias) = embeddings()[rows].requires_grad_(), build_numbers()
    peer = open_clip_loss().SigLipLoss(rank=rank, world_size=world)
    loss = peer(z[:, 0].contiguous(), z[:, -1].contiguous(), scale, bias)
    return loss.detach(), list(torch.autograd.grad(loss, [z, scale, bias]))


def compute_open_clip_share(rows: slice, rank: int, world: int, form: str) -> Result:
    """Return open_clip's loss of the same pairs in one of its forms, and its gradients."""
    local, with_grad = FORMS[form]
    z = embeddings()[rows].requires_grad_()
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    peer = open_clip_loss().ClipLoss(local, with_grad, rank=rank, world_size=world)
    loss = peer(z[:, 0].contiguous(), z[:, -1].contiguous(), scale)
    return loss.detach(), list(torch.autograd.grad(loss, [z, scale]))


def under_ddp(form: str, rows: slice, rank: int, world: int) -> torch.Tensor:
    """Return the gradient under DDP of a layer before a CLIP loss (ours times world size)."""
    layer = torch.nn.Linear(WIDTH, WIDTH, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(WIDTH) + 0.1 * torch.arange(WIDTH))
    model = torch.nn.parallel.DistributedDataParallel(layer) if world > 1 else layer
    image, text = F.normalize(model(embeddings()[rows][:, [0, -1]]), dim=-1).unbind(1)
    if form == "uniclip":
        loss = clip_loss(image, text, 20.0, process_group=get_process_group()) * world
    else:
        peer = open_clip_loss().ClipLoss(True, True, rank=rank, world_size=world)
        loss = peer(image.contiguous(), text.contiguous(), 20.0)
    loss.backward()
    return layer.weight.grad


def slices(counts: tuple[int, ...]) -> list[slice]:
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return [slice(start, start + n) for start, n in zip(starts, counts)]


def every_case(world: int, rank: int) -> dict[tuple[str, ...], Result]:
    """Return the results of this process in every case."""
    processes = get_process_group()
    assert (processes.rank, processes.world_size) == (rank, world)
    dropped = get_process_group(gather_with_grad=False)
    results = {}
    for division, counts in COUNTS[world].items():
        rows = slices(counts)[rank]
        for form, chunk in CHUNKS.items():
            for loss in LOSSES:
                results[division, form, loss] = compute_share(loss, chunk, rows, processes)
                if division == "even":
                    results[division, form, loss, "dropped"] = compute_share(
                        loss, chunk, rows, dropped
                    )
    rows = slices(COUNTS[world]["even"])[rank]
    for form in FORMS:
        results["open_clip", form] = compute_open_clip_share(rows, rank, world, form)
    results["open_clip", "siglip"] = compute_open_clip_siglip_share(rows, rank, world)
    for form in ("uniclip", "open_clip"):
        results["ddp", form] = torch.zeros(()), [under_ddp(form, rows, rank, world)]
    return results


def main(rank: int, world: int, folder: str) -> None:
    """Compute all cases in one process, and write them to a file."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    torch.save(every_case(world, rank), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def compute_whole(loss: str) -> Result:
    """Return the loss of all samples in a single process, and its gradients."""
    return compute_share(loss, None, slice(None), SINGLE_PROCESS)
