"""The augmentation encoder and the image head: fusion, number of parameters, and influence of the
augmentation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uniclip.config.heads import MODULATION_INIT_GAINS
from uniclip.losses.image_text import clip_loss
from uniclip.models.heads import AugmentationEncoder, ImageHead

VECTOR_DIM, NUM_FEATURES = 13, 24
FUSIONS = ("film", "cosine", "product", "product_concat", "concat")
ZERO_STARTS = ("film", "product", "product_concat")
"""Fusions that can start with a modulation of zero."""


def count_parameters(module):
    return sum(p.numel() for p in module.parameters())


def build_head(fusion, width=16, embedding=32, blocks=2, gain=None):
    torch.manual_seed(0)
    return ImageHead(NUM_FEATURES, width, embedding, blocks, fusion, gain)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("embedding", [32, 128, 512])
@pytest.mark.parametrize("width", [16, 64, 256])
def test_all_fusions_have_as_many_parameters(width, embedding, blocks):
    film, *others = (count_parameters(build_head(f, width, embedding, blocks)) for f in FUSIONS)
    assert all(abs(film - other) <= 0.02 * film for other in others)


@pytest.mark.parametrize("fusion", [*FUSIONS, "none"])
def test_shapes_and_gradients(fusion):
    features, augmentation = torch.randn(5, NUM_FEATURES), torch.randn(5, 16)
    module = build_head(fusion)
    out = module(features, None if fusion == "none" else augmentation)
    assert out.shape == (5, 32)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_augmentation_reaches_the_embedding(fusion):
    features, augmentation = torch.randn(1, NUM_FEATURES).expand(2, -1), torch.randn(2, 16)
    out = build_head(fusion)(features, augmentation)
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_projection_is_shared_by_the_fusions():
    weights = [build_head(fusion).projection.weight for fusion in (*FUSIONS, "none")]
    assert all(torch.equal(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize("fusion", ["cosine", "product", "none"])
def test_the_heads_without_concatenation_share_norms_and_mlps(fusion):
    film, other = build_head("film").state_dict(), build_head(fusion).state_dict()
    shared = [n for n in film if "modulation" not in n]
    assert [n for n in other if "modulation" not in n] == shared
    assert all(torch.equal(film[n], other[n]) for n in shared)


def multiply(linear, row):
    """Return weight times row plus bias, written out."""
    bias = [0.0] * len(linear.weight) if linear.bias is None else linear.bias
    return [sum(w * x for w, x in zip(weights, row)) + b for weights, b in zip(linear.weight, bias)]


def apply_mlp(mlp, row):
    hidden = [F.gelu(x) for x in multiply(mlp[0], row)]
    return multiply(mlp[2], hidden)


def apply_norm(norm, row):
    mean = sum(row) / len(row)
    variance = sum((x - mean) ** 2 for x in row) / len(row)
    unit = [(x - mean) / (variance + norm.eps) ** 0.5 for x in row]
    return [w * x + b for w, x, b in zip(norm.weight, unit, norm.bias)]


def modulate(block, row, augmentation, scale):
    out = multiply(block.modulation, augmentation)
    gamma, beta = out[: len(row)], out[len(row) :]
    return [scale(g) * x + b for g, x, b in zip(gamma, row, beta)]


def add_product(block, row, augmentation):
    factors = zip(
        multiply(block.modulation.image_factor, row),
        multiply(block.modulation.augmentation_factor, augmentation),
    )
    product = multiply(block.modulation.output, [x * a for x, a in factors])
    return [x + p for x, p in zip(row, product)]


def apply_block(fusion, block, row, augmentation):
    """Return what a block makes of one row, by the formula of its docstring, one unit at a time."""
    normed = apply_norm(block.norm, row)
    if fusion == "film":
        stream = mlp_input = modulate(block, normed, augmentation, lambda gamma: 1 + gamma)
    elif fusion == "cosine":
        stream = mlp_input = modulate(block, normed, augmentation, torch.cos)
    elif fusion == "product":
        stream = mlp_input = add_product(block, normed, augmentation)
    elif fusion == "product_concat":
        stream = add_product(block, normed, augmentation)
        mlp_input = [*stream, *augmentation]
    elif fusion == "concat":
        stream, mlp_input = row, [*normed, *augmentation]
    else:
        stream = mlp_input = normed
    mlp = block.fusion_mlp if "concat" in fusion else block.mlp
    return [x + y for x, y in zip(stream, apply_mlp(mlp, mlp_input))]


def apply_slowly(fusion, head, features, augmentation):
    rows = []
    for feature_row, augmentation_row in zip(features, augmentation):
        row = multiply(head.projection, feature_row)
        for block in head.blocks:
            row = apply_block(fusion, block, row, list(augmentation_row))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("fusion", [*FUSIONS, "none"])
def test_values_and_gradients_equal_the_formula(fusion):
    torch.manual_seed(0)
    head = ImageHead(5, 4, 6, 2, fusion).double()
    with torch.no_grad():
        for parameter in head.parameters():  # no zero bias hides a mistake
            parameter.add_(0.1 * torch.randn_like(parameter))
    features, augmentation = (torch.randn(3, n, dtype=torch.float64) for n in (5, 4))
    inputs = [t.requires_grad_() for t in (features, augmentation)]
    out, expected = head(*inputs), apply_slowly(fusion, head, *inputs)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    upstream, leaves = torch.randn_like(out), [*inputs, *head.parameters()]
    grads, expected_grads = (
        torch.autograd.grad(rows, leaves, upstream, allow_unused=True) for rows in (out, expected)
    )
    for grad, expected_grad in zip(grads, expected_grads):
        if fusion != "none" or grad is not None:
            torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 6])
def test_the_augmentation_encoder_has_the_stated_layers_and_keeps_its_scale(layers):
    torch.manual_seed(0)
    encoder = AugmentationEncoder(VECTOR_DIM, 64, layers)
    linears = [m for m in encoder.layers if isinstance(m, nn.Linear)]
    assert len(linears) == layers
    assert len(encoder.layers) == 2 * layers - 1
    assert 0.5 < encoder(torch.randn(500, VECTOR_DIM)).std().item() < 2
    assert not encoder(torch.zeros(1, VECTOR_DIM)).any()


@torch.no_grad()
def compute_variance_shares(fusion, gain=None, n=60):
    """Return the shares of augmentation and image in the variance of the rows at initialization.

    Every image is combined with every augmentation: the rest of a two-way analysis of variance is
    their interaction.
    """
    torch.manual_seed(0)
    encoder, head = AugmentationEncoder(VECTOR_DIM, 64), build_head(fusion, 64, 64, 1, gain)
    features, augmentation = torch.randn(n, NUM_FEATURES), encoder(torch.randn(n, VECTOR_DIM))
    rows = head(features.repeat_interleave(n, 0), augmentation.repeat(n, 1)).view(n, n, -1)
    rows -= rows.mean((0, 1))
    total = rows.square().mean()
    parts = (rows.mean(axis).square().mean() / total for axis in (0, 1))
    return [part.item() for part in parts]


SHARES = {
    ("film", None): ((0.3, 0.7), (0.0, 0.3)),
    ("film", 1.0): ((0.1, 0.4), (0.3, 0.6)),
    ("cosine", None): ((0.3, 0.6), (0.2, 0.5)),
    ("cosine", 0.1): ((0.0, 0.03), (0.95, 1.0)),
    ("product", None): ((0.0, 0.05), (0.5, 0.8)),
    ("product", 0.1): ((0.0, 0.01), (0.95, 1.0)),
    ("product_concat", None): ((0.0, 0.2), (0.4, 0.8)),
    ("concat", None): ((0.05, 0.4), (0.5, 0.9)),
}
"""(fusion, gain) -> bounds of the shares of augmentation and image."""


@pytest.mark.parametrize(("fusion", "gain"), SHARES)
def test_share_of_augmentation_and_image_at_initialization(fusion, gain):
    for share, (low, high) in zip(compute_variance_shares(fusion, gain), SHARES[fusion, gain]):
        assert low <= share <= high


@pytest.mark.parametrize("fusion", ["film", "product"])
def test_a_zero_start_is_the_head_without_augmentation(fusion):
    features, augmentation = torch.randn(7, NUM_FEATURES), torch.randn(7, 16)
    rows = build_head(fusion, gain=0.0)(features, augmentation)
    assert torch.equal(rows, build_head("none")(features, None))


@pytest.mark.parametrize("fusion", [*ZERO_STARTS, "cosine"])
def test_a_zero_start_is_left_unless_the_slope_is_zero(fusion):
    head = build_head(fusion, blocks=1, gain=0.0)
    head(torch.randn(7, NUM_FEATURES), torch.randn(7, 16)).square().sum().backward()
    modulation = head.blocks[0].modulation
    gradient = (modulation.output if "product" in fusion else modulation).weight.grad
    gamma_gradient = gradient if "product" in fusion else gradient[:32]
    assert gamma_gradient.any().item() is (fusion != "cosine")


@pytest.mark.parametrize("fusion", [*FUSIONS, "none"])
def test_the_modulation_is_what_the_augmentation_multiplies(fusion):
    head = build_head(fusion)
    expected = [p for n, p in head.named_parameters() if "modulation" in n]
    assert {id(p) for p in head.list_modulation_parameters()} == {id(p) for p in expected}
    assert bool(expected) is (fusion not in ("concat", "none"))


def test_a_head_without_vector_is_the_film_head_with_a_zero_vector():
    film, plain = build_head("film"), build_head("none")
    assert all(torch.equal(value, film.state_dict()[n]) for n, value in plain.state_dict().items())
    features = torch.randn(7, NUM_FEATURES)
    assert torch.equal(plain(features, None), film(features, torch.zeros(7, 16)))


def test_only_a_nonzero_vector_modulates_at_initialization():
    torch.manual_seed(1)
    encoder, module = AugmentationEncoder(VECTOR_DIM, 64), build_head("film", width=64)
    modulate = module.blocks[0].modulation
    assert torch.equal(modulate(encoder(torch.zeros(1, VECTOR_DIM))), torch.zeros(1, 64))
    spread = modulate(encoder(torch.randn(500, VECTOR_DIM))).std().item()
    assert 3 < spread < 12  # wide enough to change the sign of a unit


LEARNS_PRODUCT = {f: f in MODULATION_INIT_GAINS for f in (*MODULATION_INIT_GAINS, "none")}


@pytest.mark.parametrize(("fusion", "learns"), LEARNS_PRODUCT.items())
def test_modulation_learns_a_product_of_image_and_augmentation(fusion, learns):
    """One bit of the text is the image's bit times the flip, which the vector holds."""
    torch.manual_seed(0)
    bits, batch = 6, 64
    encoder, module = (
        AugmentationEncoder(VECTOR_DIM, 32),
        ImageHead(NUM_FEATURES, 32, 32, 1, fusion),
    )
    text_head = nn.Linear(bits, 32)
    parameters = [p for m in (encoder, module, text_head) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    mix = torch.randn(bits, NUM_FEATURES) / bits**0.5

    def embed(n):
        text_bits = torch.randint(2, (n, bits)) * 2.0 - 1
        flip = torch.randint(2, (n,)).float()
        image_bits = text_bits.clone()
        image_bits[:, 0] *= 1 - 2 * flip
        vectors = torch.randn(n, VECTOR_DIM)
        vectors[:, 4] = 2 * flip
        augmentation = None if fusion == "none" else encoder(vectors)
        return F.normalize(module(image_bits @ mix, augmentation), dim=1), text_bits

    for _ in range(120):
        images, text_bits = embed(batch)
        loss = clip_loss(images, F.normalize(text_head(text_bits), dim=1), 14.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        images, text_bits = embed(1000)
        other = text_bits * torch.tensor([-1.0] + [1.0] * (bits - 1))
        true, false = (F.normalize(text_head(t), dim=1) for t in (text_bits, other))
        accuracy = ((images * true).sum(1) > (images * false).sum(1)).float().mean().item()
    assert accuracy > 0.95 if learns else abs(accuracy - 0.5) < 0.1
