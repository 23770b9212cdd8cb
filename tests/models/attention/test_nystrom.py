"""Nyström attention is softmax through landmarks and a pseudo-inverse."""

import pytest
import torch
import torch.nn.functional as F
from attention_checks import HEADS, exact, heads, make, tokens
from model_checks import saved_bytes

from miram.errors import MiramError
from miram.models.attention import NystromConfig, nystrom_attention
from miram.models.attention.nystrom import (
    block_shape,
    convolve_sequence,
    grid_landmarks,
    iterative_pinv,
    segment_means,
)


def test_attention_is_exact_when_every_token_is_a_landmark() -> None:
    config = NystromConfig(num_landmarks=64, pinv_steps=30, conv="none")
    layer = make(config, prefix=0).double()
    q, k, v = heads(2, HEADS, 16, 8, scale=2.0)
    torch.testing.assert_close(layer.attend(q, k, v), exact(q, k, v), rtol=0, atol=1e-6)


def test_paper_steps_come_close_to_exact_attention() -> None:
    q, k, v = (x.float() for x in heads(2, 3, 16, 32, scale=1.5))
    out = nystrom_attention(q, k, v, q, k, 6)
    assert (out - exact(q, k, v)).abs().mean() < 0.02


def test_pseudo_inverse_keeps_its_precision_under_autocast() -> None:
    # Nearly equal queries and keys, whose pseudo-inverse in bfloat16 is 9 % off.
    q, k, v = (x.float() for x in heads(1, 4, 256, 32))
    q, k = 0.3 * q, 0.3 * (q + 0.1 * k)
    q_marks, k_marks = q[:, :, ::4], k[:, :, ::4]
    full = nystrom_attention(q, k, v, q_marks, k_marks, 20)
    with torch.autocast("cpu", torch.bfloat16):
        half = nystrom_attention(q, k, v, q_marks, k_marks, 20)
    assert (half - full).norm() < 0.02 * full.norm()


def test_iterations_of_the_pseudo_inverse_keep_no_memory() -> None:
    x = tokens(side=8)
    one, six = (make(NystromConfig(pinv_steps=steps), side=8) for steps in (1, 6))
    assert saved_bytes(six, lambda: six(x))[0] == saved_bytes(one, lambda: one(x))[0]


def test_equals_its_formula() -> None:
    q, k, v = heads(2, 3, 12, 4)
    q_marks, k_marks = segment_means(q, 4, 2), segment_means(k, 4, 2)
    left, right = (q @ k_marks.mT / 2).softmax(-1), (q_marks @ k.mT / 2).softmax(-1)
    middle = iterative_pinv((q_marks @ k_marks.mT / 2).softmax(-1), 6)
    out = nystrom_attention(q, k, v, q_marks, k_marks, 6)
    torch.testing.assert_close(out, left @ middle @ right @ v)


def test_pseudo_inverse_converges_to_the_inverse() -> None:
    a, *_ = heads(2, 3, 8, 8)
    a = (a + 4 * torch.eye(8)).softmax(-1)
    torch.testing.assert_close(iterative_pinv(a, 15), torch.linalg.inv(a), rtol=0, atol=1e-8)


def test_pseudo_inverse_of_a_matrix_ignores_its_neighbors() -> None:
    a, *_ = heads(3, 8, 8)
    together = iterative_pinv(torch.stack([a[0], 100 * a[1], a[2]]).softmax(-1), 6)[0]
    torch.testing.assert_close(together, iterative_pinv(a[0].softmax(-1), 6))


def test_segments_count_every_token_once_and_differ_by_one_at_most() -> None:
    for length in range(1, 20):
        for segments in range(1, length + 1):
            weights = segment_means(torch.eye(length), segments, 0)  # (segments, length)
            sizes = (weights > 0).sum(1)
            torch.testing.assert_close(weights.sum(1), torch.ones(segments))
            assert ((weights > 0).sum(0) == 1).all()
            assert sizes.max() - sizes.min() <= 1
            assert (weights.argmax(1).diff() > 0).all()
    with pytest.raises(MiramError, match="5 landmarks for 4 tokens"):
        segment_means(torch.zeros(4), 5, 0)


def test_grid_landmarks_are_means_of_blocks() -> None:
    x = torch.arange(24.0).view(1, 1, 24, 1)  # a grid of 4 x 6
    means = grid_landmarks(x, (2, 3), (4, 6)).flatten()
    image = x.view(4, 6)
    expected = [image[r : r + 2, c : c + 2].mean() for r in (0, 2) for c in (0, 2, 4)]
    torch.testing.assert_close(means, torch.stack(expected))


@pytest.mark.parametrize(
    ("landmarks", "grid", "shape"),
    [(64, (28, 28), (8, 8)), (32, (14, 28), (4, 8)), (64, (4, 4), (4, 4)), (1, (5, 5), (1, 1))],
)
def test_blocks_are_as_square_as_they_can_be(
    landmarks: int, grid: tuple[int, int], shape: tuple[int, int]
) -> None:
    assert block_shape(landmarks, grid) == shape


def test_prefix_enters_no_landmark() -> None:
    layer = make(NystromConfig(num_landmarks=4))
    q, *_ = heads(2, HEADS, 17, 8)
    changed = q.clone()
    changed[:, :, 0] += 1
    assert torch.equal(layer.landmarks(q), layer.landmarks(changed))


@pytest.mark.parametrize("taps", [1, 3, 5, 33])
@pytest.mark.parametrize("count", [1, 31, 32, 65])
def test_products_of_blocks_are_a_depthwise_convolution(taps: int, count: int) -> None:
    v = torch.randn(2, 3, count, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, taps, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(v, weight[:, None, :, None], padding="same", groups=3)
    found = convolve_sequence(v, weight)
    torch.testing.assert_close(found, expected)
    ahead = torch.randn_like(found)
    gradients = (torch.autograd.grad(x, (v, weight), ahead) for x in (found, expected))
    torch.testing.assert_close(*gradients)


def test_nystrom_without_convolution_ignores_the_order_within_a_landmark() -> None:
    layer, x = make(NystromConfig(num_landmarks=4, conv="none")), tokens()
    order = [0, 4, 2, 1, 3, *range(5, 17)]  # the first landmark is tokens 1 to 4
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-5)
