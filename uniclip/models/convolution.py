"""Convolutions of small images on a CPU, computed as matrix products.

oneDNN's convolutions are made for large feature maps. On maps of a few pixels, as small encoders
have, the backward pass of a depthwise convolution and of a convolution whose stride equals its
kernel take several times as long as the same sums in the form of a matrix product. Parameters,
their names and the function are those of `torch.nn.Conv2d`; values differ in rounding only.

Letters: B images, C channels, H x W pixels, k the kernel size, P = H * W.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_DENSE_PIXELS = 4
"""P up to which a depthwise convolution is a product with a (P, P) matrix for each channel; for
larger maps the P^2 products cost more than they save."""


class PatchConv2d(nn.Conv2d):
    """A convolution whose stride equals its kernel: the flattened patches times a matrix.

    Kernels of one pixel included. On other devices than a CPU it is torch's convolution.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C_out, H / k, W / k), in the channels-last layout, of input (B, C, H, W)."""
        size, (num_images, channels, height, width) = self.kernel_size[0], input.shape
        if input.device.type != "cpu" or height % size or width % size:
            return super().forward(input)
        pixels = input.permute(0, 2, 3, 1)
        if size > 1:
            grid = (num_images, height // size, size, width // size, size, channels)
            pixels = pixels.reshape(grid).transpose(2, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(pixels, weight, self.bias).permute(0, 3, 1, 2)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that keeps the size of its maps.

    Small maps are flattened and multiplied with one (P, P) matrix for each channel. Larger ones,
    and those on other devices than a CPU, are torch's convolution.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W) of input (B, C, H, W), in the channels-last layout if small."""
        num_images, channels, height, width = input.shape
        if input.device.type != "cpu" or height * width > MAX_DENSE_PIXELS:
            return super().forward(input)
        matrices = self._build_matrices(height, width)
        maps = input.permute(1, 0, 2, 3).reshape(channels, num_images, height * width)
        products = torch.bmm(maps, matrices)
        if self.bias is not None:
            products = products + self.bias[:, None, None].to(products.dtype)
        output = products.reshape(channels, num_images, height, width).permute(1, 0, 2, 3)
        return output.contiguous(memory_format=torch.channels_last)

    def _build_matrices(self, height: int, width: int) -> Tensor:
        """Return the matrices (C, P, P): the weight of an input pixel for an output pixel."""
        rows, has_row = _compute_kernel_index(height, self.kernel_size[0])
        columns, has_column = _compute_kernel_index(width, self.kernel_size[1])
        weights = self.weight[:, 0, rows[:, None, :, None], columns[None, :, None, :]]
        is_inside = has_row[:, None, :, None] & has_column[None, :, None, :]
        return (weights * is_inside).flatten(3).flatten(1, 2)


def _compute_kernel_index(num_pixels: int, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Return which kernel entry joins each pair of pixels of a line, and whether there is one.

    Both are (input pixel, output pixel); an entry outside the kernel is given as the nearest one.
    """
    pixel = torch.arange(num_pixels)
    entry = pixel[:, None] - pixel[None, :] + kernel_size // 2
    return entry.clamp(0, kernel_size - 1), (entry >= 0) & (entry < kernel_size)


def replace_convolutions(module: nn.Module) -> None:
    """Replace the convolutions in `module` that have a faster form here; parameters are kept."""
    for name, child in module.named_children():
        conv_type = _select_type(child)
        if conv_type is None:
            replace_convolutions(child)
            continue
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
        arguments: dict[str, Any] = {argument: getattr(child, argument) for argument in names}
        # On the meta device no initial weights are drawn.
        replacement = conv_type(**arguments, bias=child.bias is not None, device="meta")
        replacement._parameters = child._parameters
        setattr(module, name, replacement.train(child.training))


def _select_type(module: nn.Module) -> type[PatchConv2d | DepthwiseConv2d] | None:
    """Return the faster form of a module, or None; subclasses of Conv2d keep their own."""
    if type(module) is not nn.Conv2d or module.dilation != (1, 1):
        return None
    if module._forward_pre_hooks or module._forward_hooks:  # such as those of a weight norm
        return None
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    height, width = module.kernel_size
    if module.groups == 1:
        is_patches = module.stride == (height, width) and height == width
        return PatchConv2d if is_patches and module.padding == (0, 0) else None
    is_depthwise = module.groups == module.in_channels == module.out_channels
    keeps_size = height % 2 == width % 2 == 1 and module.padding == (height // 2, width // 2)
    return DepthwiseConv2d if is_depthwise and keeps_size and module.stride == (1, 1) else None
