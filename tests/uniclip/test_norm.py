"""Batch norm over two processes against batch norm of the whole batch in one."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as spawn
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from uniclip.model.norm import BatchNorm, over_processes

ROWS = (5, 3)
SHAPES = {"rows": (8, 4), "maps": (8, 4, 3, 2)}


def whole(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 100
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, weight


def ready(norm):
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1, 5))
        norm.bias.copy_(torch.arange(4) - 2)
    return norm.double()


def one_process(shape):
    x, weight = whole(shape)
    norm = ready(nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4))
    x.requires_grad_()
    out = norm(x)
    (out * weight).sum().backward()
    return norm, out.detach(), x.grad


def work(rank, path, answers):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    told = {}
    for name, shape in SHAPES.items():
        x, weight = (t.split(ROWS)[rank].clone() for t in whole(shape))
        norm = ready(BatchNorm(4))
        x.requires_grad_()
        out = norm(x)
        (out * weight).sum().backward()
        pulls = [norm.weight.grad, norm.bias.grad]
        for pull in pulls:
            dist.all_reduce(pull)
        told[name] = [out.detach(), x.grad, *pulls, norm.running_mean, norm.running_var]
    torch.save(told, f"{answers}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("norm")
    spawn.spawn(work, (str(folder / "meet"), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", list(SHAPES))
def test_two_processes_with_uneven_rows_are_one(told, name):
    norm, out, pull = one_process(SHAPES[name])
    parts = [of_rank[name] for of_rank in told]
    close = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), out, **close)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), pull, **close)
    for part in parts:
        torch.testing.assert_close(part[2], norm.weight.grad, **close)
        torch.testing.assert_close(part[3], norm.bias.grad, **close)
        torch.testing.assert_close(part[4], norm.running_mean, **close)
        torch.testing.assert_close(part[5], norm.running_var, **close)


def test_replaced_norms_keep_names_and_bits():
    inner = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4, act_layer=nn.GELU))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), inner.requires_grad_(False))
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    expected, names = model(x), list(model.state_dict())
    learns = [p.requires_grad for p in model.parameters()]
    over_processes(model, torch.device("cpu"))
    assert list(model.state_dict()) == names
    assert [p.requires_grad for p in model.parameters()] == learns
    assert all(isinstance(norm, BatchNorm) for norm in (model[1], *model[2]))
    assert torch.equal(model(x), expected)


def test_on_a_gpu_it_is_torchs_own():
    model = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4), BatchNorm(4))
    over_processes(model, torch.device("cuda"))
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in model)
    assert isinstance(model[1].act, nn.ReLU)
