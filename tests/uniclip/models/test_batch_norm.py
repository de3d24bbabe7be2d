"""Batch norm over two processes against batch norm of the whole batch in one.

On CPUs it is ours; on two GPUs, where there are two, torch's SyncBatchNorm is held to the same.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as spawn
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from uniclip.models.batch_norm import BatchNorm, synchronize_batch_norm

SHAPES = {"rows": (8, 4), "maps": (8, 4, 3, 2), "many rows": (1024, 4)}
"""Many: more than the 256 up to which bfloat16 counts."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
DEVICES = (
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="2 GPUs")),
)


def whole(shape, dtype, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 10
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.to(device, dtype), weight.to(device, dtype)


def uneven(tensor):
    """Of rank 0 and of rank 1."""
    return tensor.split([len(tensor) * 5 // 8, len(tensor) - len(tensor) * 5 // 8])


def ready(norm, dtype, device="cpu"):
    """Its numbers in float32 for bfloat16 rows, as under autocast."""
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1, 5))
        norm.bias.copy_(torch.arange(4) - 2)
    return norm.to(device, torch.promote_types(dtype, torch.float32))


def one_process(shape, dtype, device):
    x, weight = whole(shape, dtype, device)
    norm = ready(nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4), dtype, device)
    x.requires_grad_()
    out = norm(x)
    (out * weight).sum().backward()
    return norm, out.detach().cpu(), x.grad.cpu()


def work(rank, path, answers, device):
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{path}", rank=rank, world_size=2)
    told = {}
    for name, shape in SHAPES.items():
        for dtype in DTYPES:
            x, weight = (uneven(t)[rank].clone() for t in whole(shape, dtype, device))
            model = nn.Sequential(nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4))
            synchronize_batch_norm(model, torch.device(device))
            norm = ready(model[0], dtype, device)
            x.requires_grad_()
            out = norm(x)
            (out * weight).sum().backward()
            pulls = [norm.weight.grad, norm.bias.grad]
            for pull in pulls:
                dist.all_reduce(pull)
            found = [out.detach(), x.grad, *pulls, norm.running_mean, norm.running_var]
            told[name, dtype] = [tensor.cpu() for tensor in found]
    torch.save(told, f"{answers}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=DEVICES)
def told(request, tmp_path_factory):
    """The device, and what each of two processes on it found."""
    folder = tmp_path_factory.mktemp("norm")
    spawn.spawn(work, (str(folder / "meet"), str(folder), request.param), nprocs=2)
    return request.param, [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(SHAPES))
def test_two_processes_with_uneven_rows_are_one(told, name, dtype):
    device, ranks = told
    norm, out, pull = one_process(SHAPES[name], dtype, device)
    parts = [of_rank[name, dtype] for of_rank in ranks]
    assert all(part[0].dtype == part[1].dtype == dtype for part in parts)
    # Sums agree to float32's rounding at least; of bfloat16, what is cast back to its 8 bits.
    fine = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-4, atol=1e-4)
    close = dict(rtol=1e-2, atol=1e-2) if dtype == torch.bfloat16 else fine
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), out, **close)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), pull, **close)
    expected = [norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    for part in parts:
        for given, wanted in zip(part[2:], expected, strict=True):
            torch.testing.assert_close(given, wanted.cpu(), **fine)


def test_replaced_norms_keep_names_and_bits():
    inner = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4, act_layer=nn.GELU))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), inner.requires_grad_(False))
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    expected, names = model(x), list(model.state_dict())
    learns = [p.requires_grad for p in model.parameters()]
    synchronize_batch_norm(model, torch.device("cpu"))
    assert list(model.state_dict()) == names
    assert [p.requires_grad for p in model.parameters()] == learns
    assert all(isinstance(norm, BatchNorm) for norm in (model[1], *model[2]))
    assert torch.equal(model(x), expected)


def test_on_a_gpu_it_is_torchs_own():
    model = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4), BatchNorm(4))
    synchronize_batch_norm(model, torch.device("cuda"))
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in model)
    assert isinstance(model[1].act, nn.ReLU)
