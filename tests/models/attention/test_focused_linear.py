"""Focused linear attention is a ReLU kernel with a floor, and a local module on the grid."""

import torch
from attention_checks import DIM, heads, make

from miram.models.attention import FocusedLinearConfig, focused_linear_attention


def test_equals_the_normalized_relu_kernel() -> None:
    q, k, v = heads(2, 3, 9, 4)
    kernel = q.relu() @ k.relu().mT
    expected = 2 * kernel @ v / kernel.sum(-1, keepdim=True)
    out = focused_linear_attention(q, k, v, torch.full((3,), 2.0), 1e-30)
    seen = kernel.sum(-1) > 0  # a query that meets no key reads zero
    torch.testing.assert_close(out[seen], expected[seen])
    assert (out[~seen] == 0).all()


def test_floor_bounds_the_denominator() -> None:
    q, k, v = heads(2, 3, 9, 4)
    kernel = q.relu() @ k.relu().mT
    out = focused_linear_attention(q, k, v, torch.ones(3), 1e6)
    torch.testing.assert_close(out, kernel @ v / 1e6)


def test_local_module_reaches_its_kernels_and_no_further() -> None:
    layer = make(FocusedLinearConfig(kernel=3), side=9).local
    image = torch.randn(1, DIM, 9, 9, generator=torch.Generator().manual_seed(0))
    image.requires_grad_()
    layer(image)[0, :, 4, 4].sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum((0, 1)) > 0  # (9, 9)
    assert touched[2:7, 2:7].all()  # two kernels of 3 see two tokens each way
    assert int(touched.sum()) == 25
