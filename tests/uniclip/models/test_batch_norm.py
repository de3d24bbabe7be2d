"""Batch norm over two processes against batch norm of the whole batch in one.

On CPUs it is `BatchNorm`; with two GPUs torch's SyncBatchNorm is tested the same way.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from tests.helpers.processes import start_ranks
from uniclip.models.batch_norm import BatchNorm, synchronize_batch_norm

SHAPES = {"rows": (8, 4), "maps": (8, 4, 3, 2), "many rows": (1024, 4)}
"""Many rows: more than 256, up to which bfloat16 represents every integer."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
DEVICES = (
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="2 GPUs")),
)


def make_batch(shape, dtype, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 10
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.to(device, dtype), weight.to(device, dtype)


def split_unevenly(tensor):
    """Return the rows of rank 0 and of rank 1."""
    return tensor.split([len(tensor) * 5 // 8, len(tensor) - len(tensor) * 5 // 8])


def set_parameters(norm, dtype, device="cpu"):
    """Set weight and bias; in float32 for bfloat16 rows, as under autocast."""
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1, 5))
        norm.bias.copy_(torch.arange(4) - 2)
    return norm.to(device, torch.promote_types(dtype, torch.float32))


def one_process(shape, dtype, device):
    x, weight = make_batch(shape, dtype, device)
    norm = set_parameters(
        nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4), dtype, device
    )
    x.requires_grad_()
    out = norm(x)
    (out * weight).sum().backward()
    return norm, out.detach().cpu(), x.grad.cpu()


def run_rank(rank, path, result_folder, device):
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{path}", rank=rank, world_size=2)
    results = {}
    for name, shape in SHAPES.items():
        for dtype in DTYPES:
            x, weight = (split_unevenly(t)[rank].clone() for t in make_batch(shape, dtype, device))
            model = nn.Sequential(nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4))
            synchronize_batch_norm(model, torch.device(device))
            norm = set_parameters(model[0], dtype, device)
            x.requires_grad_()
            out = norm(x)
            (out * weight).sum().backward()
            gradients = [norm.weight.grad, norm.bias.grad]
            for gradient in gradients:
                dist.all_reduce(gradient)
            tensors = [out.detach(), x.grad, *gradients, norm.running_mean, norm.running_var]
            results[name, dtype] = [tensor.cpu() for tensor in tensors]
    torch.save(results, f"{result_folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=DEVICES)
def results(request, tmp_path_factory):
    """Return the device, and the results of two processes on it."""
    folder = tmp_path_factory.mktemp("norm")
    start_ranks(run_rank, 2, str(folder / "meet"), str(folder), request.param)
    return request.param, [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(SHAPES))
def test_two_processes_with_uneven_rows_equal_one_process(results, name, dtype):
    device, ranks = results
    norm, out, gradient = one_process(SHAPES[name], dtype, device)
    parts = [of_rank[name, dtype] for of_rank in ranks]
    assert all(part[0].dtype == part[1].dtype == dtype for part in parts)
    # Sums agree to float32's rounding at least; of bfloat16, what is cast back to its 8 bits.
    fine = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-4, atol=1e-4)
    close = dict(rtol=1e-2, atol=1e-2) if dtype == torch.bfloat16 else fine
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), out, **close)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), gradient, **close)
    expected = [norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    for part in parts:
        for actual, expected_value in zip(part[2:], expected, strict=True):
            torch.testing.assert_close(actual, expected_value.cpu(), **fine)


def test_replaced_norms_keep_names_and_values():
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


def test_on_a_gpu_it_is_torchs_sync_batch_norm():
    model = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4), BatchNorm(4))
    synchronize_batch_norm(model, torch.device("cuda"))
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in model)
    assert isinstance(model[1].act, nn.ReLU)
