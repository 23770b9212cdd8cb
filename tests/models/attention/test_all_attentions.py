"""What every attention promises, and the mathematical identities of each."""

import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, SIDE, exact, heads, make, tokens
from model_checks import parameters_without_gradient, saved_bytes
from timm.layers import Attention as TimmAttention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models import attention
from miram.models.attention import (
    ATTENTIONS,
    GatedConvConfig,
    HaloConfig,
    LinformerConfig,
    LongShortConfig,
    MultiAxisConfig,
    NeighborhoodConfig,
    NystromConfig,
    PerformerConfig,
    PyramidConfig,
    SoftmaxConfig,
    VaryingWindowConfig,
)
from miram.models.attention.focused_linear import FocusedLinearConfig
from miram.models.attention.nystrom import (
    block_shape,
    grid_landmarks,
    iterative_pinv,
    segment_means,
)
from miram.models.attention.performer import log_features, orthogonal_features
from miram.models.attention.windows import axis_attention

# The defaults of every registered attention that fit a small grid, and the settings that take
# other paths.
VARIANTS: dict[str, Any] = {
    **{kind: config() for kind, config in ATTENTIONS.items()},
    "linformer": LinformerConfig(length=5),
    "linformer_of_the_authors": LinformerConfig(length=5, one_kv_head=True, share_kv=True),
    "linformer_two_projections": LinformerConfig(length=5, share_projection=False),
    "linformer_dct": LinformerConfig(length=4, projection="dct"),
    "linformer_pool": LinformerConfig(length=4, projection="pool", share_kv=True),
    "nystrom_few": NystromConfig(num_landmarks=5),
    "nystrom_grid": NystromConfig(num_landmarks=6, landmarks="grid", conv="grid", conv_kernel=3),
    "nystrom_no_conv": NystromConfig(num_landmarks=5, conv="none"),
    "multi_axis_small": MultiAxisConfig(window=2),
    "halo_small": HaloConfig(window=2, halo=1),
    "neighborhood_small": NeighborhoodConfig(kernel=3, dilations=(2, 1)),
    "long_short_small": LongShortConfig(window=2),
    "varying_window_small": VaryingWindowConfig(window=2, ratio=3),
    "pyramid_small": PyramidConfig(cell=3),
    "gated_conv_local": GatedConvConfig(filters="local", kernel=3),
    "focused_linear_no_floor": FocusedLinearConfig(floor=1e-3),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
class TestEveryAttention:
    @pytest.mark.parametrize(("prefix", "grid"), [(1, (4, 4)), (0, (6, 4)), (5, (2, 8))])
    def test_output_has_the_shape_of_the_input(
        self, config: Any, prefix: int, grid: tuple[int, int]
    ) -> None:
        layer = config.layer(prefix, grid)(DIM, num_heads=HEADS)
        x = torch.randn(2, prefix + grid[0] * grid[1], DIM)
        assert layer(x).shape == x.shape

    def test_is_a_drop_in_for_timm_blocks(self, config: Any) -> None:
        block = Block(
            DIM, HEADS, qkv_bias=True, qk_norm=True, attn_layer=config.layer(1, (SIDE, SIDE))
        )
        names = set(dict(block.attn.named_parameters()))
        assert {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "q_norm.weight"} <= names
        assert block(tokens()).shape == tokens().shape

    def test_can_be_pickled_and_copied(self, config: Any) -> None:
        layer, x = make(config), tokens()
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
        assert torch.equal(copy.deepcopy(layer)(x), layer(x))

    def test_configuration_survives_yaml_values(self, config: Any) -> None:
        assert ATTENTIONS.model_validate(config.model_dump()) == config

    def test_gradients_reach_every_parameter(self, config: Any) -> None:
        layer = make(config)
        layer(tokens()).square().sum().backward()
        assert not parameters_without_gradient(layer)
        queries, keys_and_values = layer.qkv.weight.grad.split([DIM, len(layer.qkv.weight) - DIM])
        for part in (queries, *keys_and_values.split(layer.kv_heads * layer.head_dim)):
            assert part.abs().sum() > 0

    def test_gradient_is_that_of_finite_differences(self, config: Any) -> None:
        layer = make(config, side=2, dim=4, heads=2).double()
        q, k, v = heads(1, 2, 5, 2)
        k, v = k[:, : layer.kv_heads], v[:, : layer.kv_heads]
        inputs = tuple(x.clone().requires_grad_() for x in (q, k, v))
        assert torch.autograd.gradcheck(layer.attend, inputs)

    @pytest.mark.parametrize("training", [False, True])
    def test_output_does_not_depend_on_batch_mates(self, config: Any, training: bool) -> None:
        layer, x = make(config).train(training), tokens(batch=3)
        torch.testing.assert_close(layer(x)[:1], layer(x[:1]), rtol=0, atol=1e-6)
        mixed = torch.cat([x[:1], 20 * x[1:]])  # a quiet sample and loud ones
        together = layer(mixed)
        for i in range(3):
            alone = layer(mixed[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)

    def test_state_dict_round_trip_restores_the_output(self, config: Any) -> None:
        layer, x = make(config), tokens()
        torch.manual_seed(7)
        other = config.layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS, qkv_bias=True).eval()
        assert not torch.equal(other(x), layer(x))
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(x), layer(x))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_is_finite_on_a_long_sequence(self, config: Any, dtype: torch.dtype) -> None:
        layer, x = make(config, side=56, dim=16, heads=2), tokens(side=56, dim=16, batch=1)
        with torch.autocast("cpu", dtype):
            y = layer(4 * x)  # (1, 3137, 16)
        y.float().square().mean().backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())

    def test_autocast_agrees_with_full_precision(self, config: Any) -> None:
        layer, x = make(config, side=14), tokens(side=14)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        torch.testing.assert_close(y.float(), layer(x), rtol=0, atol=0.05)

    def test_exported_program_gives_the_same_numbers(self, config: Any) -> None:
        layer, x = make(config), tokens()
        program = torch.export.export(layer, (x,), strict=False)
        torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=1e-6)

    def test_keeps_less_than_materialized_softmax_from_785_tokens(self, config: Any) -> None:
        stock = TimmAttention(64, num_heads=2, qkv_bias=True)
        stock.fused_attn = False  # type: ignore[misc]
        x = tokens(side=28, dim=64, batch=1)  # (1, 785, 64)
        ours = make(config, side=28, dim=64, heads=2)
        assert saved_bytes(ours, lambda: ours(x))[0] <= saved_bytes(stock, lambda: stock(x))[0]

    def test_masks_and_attention_dropout_are_refused(self, config: Any) -> None:
        with pytest.raises(MiramError, match="mask"):
            make(config)(tokens(), is_causal=True)
        with pytest.raises(MiramError, match="attn_drop"):
            config.layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS, attn_drop=0.1)


def test_registry_names_every_attention_by_its_kind() -> None:
    assert {"softmax", "linformer", "performer", "nystrom"} <= ATTENTIONS.keys()
    for kind in ATTENTIONS:
        assert ATTENTIONS.model_validate({"kind": kind}).kind == kind
        assert callable(getattr(attention, f"{kind}_attention"))


# Order of the tokens. Some attentions treat tokens as a set. The others do not: Linformer's E has a
# column per position, Nyström's landmarks and convolution, windows and L²ViT's convolutions follow
# the grid.
ON_THE_GRID = [kind for kind, config in ATTENTIONS.items() if config().module().needs_grid]


@pytest.mark.parametrize("kind", ON_THE_GRID)
def test_a_sequence_that_is_not_the_grid_is_explained(kind: str) -> None:
    layer = make(VARIANTS[kind])
    with pytest.raises(MiramError, match="10 tokens are not 1 prefix"):
        layer(tokens(side=3))


@pytest.mark.parametrize("kind", sorted(ATTENTIONS.keys() - set(ON_THE_GRID)))
def test_any_number_of_tokens_in_any_order_gives_the_output_in_that_order(kind: str) -> None:
    layer, x = make(ATTENTIONS[kind]()), tokens(side=3)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-6)


def test_nystrom_without_convolution_ignores_the_order_within_a_landmark() -> None:
    layer, x = make(NystromConfig(num_landmarks=4, conv="none")), tokens()
    order = [0, 4, 2, 1, 3, *range(5, 17)]  # the first landmark is tokens 1 to 4
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-5)


class TestSoftmax:
    @pytest.mark.parametrize("fused", [True, False])
    def test_equals_timm_attention(self, fused: bool) -> None:
        torch.manual_seed(0)
        arguments: dict[str, Any] = {
            "num_heads": HEADS,
            "qkv_bias": True,
            "qk_norm": True,
            "scale_norm": True,
            "norm_layer": nn.LayerNorm,
        }
        timm = TimmAttention(DIM, **arguments)
        timm.fused_attn = fused  # type: ignore[misc]
        ours = SoftmaxConfig().layer(1, (SIDE, SIDE))(DIM, **arguments)
        ours.load_state_dict(timm.state_dict(), strict=True)
        torch.testing.assert_close(ours(tokens()), timm(tokens()), rtol=0, atol=1e-6)


class TestLinformer:
    @pytest.mark.parametrize("kv_heads", [3, 1])
    def test_equals_its_formula_and_with_identities_exact_attention(self, kv_heads: int) -> None:
        q, k, v = heads(2, 3, 9, 4)
        k, v = k[:, :kv_heads], v[:, :kv_heads]  # one head broadcasts over those of the queries
        e, f, _ = heads(5, 9, seed=1)
        eye = torch.eye(9).double()
        for one, two in ((e, f), (e, e), (eye, eye)):
            found = attention.linformer_attention(q, k, v, one, two)
            torch.testing.assert_close(found, exact(q, one @ k, two @ v))

    def test_compressing_to_more_tokens_than_there_are_is_refused(self) -> None:
        make(LinformerConfig(length=17))
        with pytest.raises(MiramError, match="length 18 is above the 17 tokens"):
            make(LinformerConfig(length=18))

    def test_setting_of_the_authors_has_the_size_it_should(self) -> None:
        layer = LinformerConfig(one_kv_head=True, share_kv=True).layer(1, (28, 28))
        count = sum(p.numel() for p in layer(512, num_heads=16, qkv_bias=True).parameters())
        projections = (512 + 32) * (512 + 1) + 512 * (512 + 1)
        assert count == projections + 128 * 785


class TestPerformer:
    def test_features_are_unbiased_for_the_softmax_kernel(self) -> None:
        q, k, _ = heads(1, 1, 6, 4, scale=0.5)
        kernel = (q @ k.mT / 2).exp()
        generator = torch.Generator().manual_seed(0)
        draws = []
        for _ in range(4000):
            w = orthogonal_features(8, 4, generator).double()
            log_q, log_k = log_features(q, w), log_features(k, w)
            draws.append(log_q.exp() @ log_k.exp().mT / 8)
        estimates = torch.stack(draws)
        standard_error = estimates.std(0) / math.sqrt(len(draws))
        error = (estimates.mean(0) - kernel).abs()
        assert (error < 5 * standard_error).all()
        assert (error < 0.05 * kernel).all()

    def test_error_falls_as_features_grow(self) -> None:
        q, k, v = heads(1, 4, 50, 8, scale=0.5)
        generator = torch.Generator().manual_seed(0)

        def error(features: int) -> float:
            errors = []
            for _ in range(8):
                w = orthogonal_features(features, 8, generator).double()
                difference = attention.performer_attention(q, k, v, w) - exact(q, k, v)
                errors.append(difference.square().mean())
            return float(torch.stack(errors).mean().sqrt())

        few, more, many = error(8), error(128), error(2048)  # 1 / √m would be 4 and 4
        assert few > 1.5 * more
        assert more > 3 * many

    def test_equals_its_formula_without_stabilizers(self) -> None:
        q, k, v = heads(2, 3, 9, 4)
        w = orthogonal_features(6, 4, torch.Generator().manual_seed(0)).double()
        kernel = log_features(q, w).exp() @ log_features(k, w).exp().mT
        expected = kernel @ v / kernel.sum(-1, keepdim=True)
        torch.testing.assert_close(attention.performer_attention(q, k, v, w), expected)

    def test_rows_are_orthogonal_and_as_long_as_normal_vectors(self) -> None:
        w = orthogonal_features(4000, 8, torch.Generator().manual_seed(0))
        block = w[:8] / w[:8].norm(dim=1, keepdim=True)
        torch.testing.assert_close(block @ block.T, torch.eye(8), rtol=0, atol=1e-5)
        assert w.square().sum(1).mean().item() == pytest.approx(8, rel=0.05)
        torch.testing.assert_close(w.T @ w / 4000, torch.eye(8), rtol=0, atol=0.1)

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
    def test_large_inputs_stay_finite(self, scale: float) -> None:
        w = orthogonal_features(16, 8, torch.Generator().manual_seed(0))
        q, k, v = (x.float().requires_grad_() for x in heads(1, 2, 20, 8, scale=scale))
        out = attention.performer_attention(q, k, v, w)
        out.sum().backward()
        assert out.isfinite().all()
        assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v))

    def test_autocast_takes_nothing_from_its_precision(self) -> None:
        w = orthogonal_features(16, 8, torch.Generator().manual_seed(0))
        q, k, v = (x.float() for x in heads(1, 2, 20, 8))
        full = attention.performer_attention(q, k, v, w)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(attention.performer_attention(q, k, v, w), full)

    def test_default_number_of_features_follows_the_head_width(self) -> None:
        assert make(PerformerConfig(), dim=64, heads=2).projection.shape == (110, 32)

    def test_projection_changes_only_every_so_many_training_steps(self) -> None:
        layer, x = make(PerformerConfig(redraw_every=3)).train(), tokens()
        first, seen = layer.projection, []
        for step in range(7):
            layer.on_step(step, 7)
            layer(x), layer(x)  # a step may take several portions
            seen.append(layer.projection)
        assert all(torch.equal(w, first) for w in seen[:3])
        assert not torch.equal(seen[3], first)
        assert all(torch.equal(w, seen[3]) for w in seen[3:6])
        assert not torch.equal(seen[6], seen[3])

    def test_resumed_run_draws_what_an_uninterrupted_one_does(self) -> None:
        config, x = PerformerConfig(redraw_every=2), tokens()
        whole, first = make(config).train(), make(config).train()
        for step in range(5):
            whole.on_step(step, 5)
        for step in range(3):
            first.on_step(step, 5)
        torch.manual_seed(99)
        resumed: Any = config.layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS, qkv_bias=True)
        resumed.load_state_dict(first.state_dict())
        for step in range(3, 5):
            resumed.on_step(step, 5)
        assert torch.equal(resumed.projection, whole.projection)
        assert torch.equal(resumed(x), whole(x))

    def test_draws_depend_on_the_seed_and_not_on_the_global_generator(self) -> None:
        one: Any = PerformerConfig().layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
        torch.manual_seed(123)
        two: Any = PerformerConfig().layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
        other: Any = PerformerConfig(seed=1).layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
        assert torch.equal(one.projection, two.projection)
        assert not torch.equal(one.projection, other.projection)

    def test_each_layer_of_a_decoder_draws_anew(self) -> None:
        def draws() -> list[Tensor]:
            layer = PerformerConfig().layer(1, (SIDE, SIDE))
            made: list[Any] = [layer(DIM, num_heads=HEADS) for _ in range(2)]
            first = [one.projection for one in made]
            for one in made:
                one.on_step(1000, 2000)
            return [*first, *(one.projection for one in made)]

        found = draws()
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(found, 2))
        assert all(torch.equal(a, b) for a, b in zip(found, draws(), strict=True))

    def test_activation_checkpointing_changes_no_gradient(self) -> None:
        x = tokens()
        plain = make(PerformerConfig(redraw_every=2)).train()
        checkpointed = copy.deepcopy(plain)
        for step in range(4):
            for layer in (plain, checkpointed):
                layer.zero_grad()
                layer.on_step(step, 4)
            plain(x).square().sum().backward()
            run = torch.utils.checkpoint.checkpoint(checkpointed, x, use_reentrant=False)
            run.square().sum().backward()
            torch.testing.assert_close(checkpointed.qkv.weight.grad, plain.qkv.weight.grad)

    def test_redraw_leaves_earlier_graphs_usable(self) -> None:
        layer, x = make(PerformerConfig(redraw_every=1)).train(), tokens()
        before = layer(x)
        layer.on_step(1, 2)
        (before + layer(x)).sum().backward()
        assert layer.qkv.weight.grad.isfinite().all()


class TestNystrom:
    def test_attention_is_exact_when_every_token_is_a_landmark(self) -> None:
        config = NystromConfig(num_landmarks=64, pinv_steps=30, conv="none")
        layer = make(config, prefix=0).double()
        q, k, v = heads(2, HEADS, 16, 8, scale=2.0)
        torch.testing.assert_close(layer.attend(q, k, v), exact(q, k, v), rtol=0, atol=1e-6)

    def test_paper_steps_come_close_to_exact_attention(self) -> None:
        q, k, v = (x.float() for x in heads(2, 3, 16, 32, scale=1.5))
        out = attention.nystrom_attention(q, k, v, q, k, 6)
        assert (out - exact(q, k, v)).abs().mean() < 0.02

    def test_pseudo_inverse_keeps_its_precision_under_autocast(self) -> None:
        # Nearly equal queries and keys, whose pseudo-inverse in bfloat16 is 9 % off.
        q, k, v = (x.float() for x in heads(1, 4, 256, 32))
        q, k = 0.3 * q, 0.3 * (q + 0.1 * k)
        q_marks, k_marks = q[:, :, ::4], k[:, :, ::4]
        full = attention.nystrom_attention(q, k, v, q_marks, k_marks, 20)
        with torch.autocast("cpu", torch.bfloat16):
            half = attention.nystrom_attention(q, k, v, q_marks, k_marks, 20)
        assert (half - full).norm() < 0.02 * full.norm()

    def test_iterations_of_the_pseudo_inverse_keep_no_memory(self) -> None:
        x = tokens(side=8)
        one, six = (make(NystromConfig(pinv_steps=steps), side=8) for steps in (1, 6))
        assert saved_bytes(six, lambda: six(x))[0] == saved_bytes(one, lambda: one(x))[0]

    def test_equals_its_formula(self) -> None:
        q, k, v = heads(2, 3, 12, 4)
        q_marks, k_marks = segment_means(q, 4, 2), segment_means(k, 4, 2)
        left, right = (q @ k_marks.mT / 2).softmax(-1), (q_marks @ k.mT / 2).softmax(-1)
        middle = iterative_pinv((q_marks @ k_marks.mT / 2).softmax(-1), 6)
        out = attention.nystrom_attention(q, k, v, q_marks, k_marks, 6)
        torch.testing.assert_close(out, left @ middle @ right @ v)

    def test_pseudo_inverse_converges_to_the_inverse(self) -> None:
        a, *_ = heads(2, 3, 8, 8)
        a = (a + 4 * torch.eye(8)).softmax(-1)
        torch.testing.assert_close(iterative_pinv(a, 15), torch.linalg.inv(a), rtol=0, atol=1e-8)

    def test_pseudo_inverse_of_a_matrix_ignores_its_neighbors(self) -> None:
        a, *_ = heads(3, 8, 8)
        together = iterative_pinv(torch.stack([a[0], 100 * a[1], a[2]]).softmax(-1), 6)[0]
        torch.testing.assert_close(together, iterative_pinv(a[0].softmax(-1), 6))

    def test_segments_count_every_token_once_and_differ_by_one_at_most(self) -> None:
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

    def test_grid_landmarks_are_means_of_blocks(self) -> None:
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
        self, landmarks: int, grid: tuple[int, int], shape: tuple[int, int]
    ) -> None:
        assert block_shape(landmarks, grid) == shape

    def test_prefix_enters_no_landmark(self) -> None:
        layer = make(NystromConfig(num_landmarks=4))
        q, *_ = heads(2, HEADS, 17, 8)
        changed = q.clone()
        changed[:, :, 0] += 1
        assert torch.equal(layer.landmarks(q), layer.landmarks(changed))

    def test_grid_landmarks_approximate_smooth_images_better(self) -> None:
        y, x = torch.meshgrid(torch.linspace(0, 3, 14), torch.linspace(0, 3, 14), indexing="ij")
        waves = [f(s * axis) for f in (torch.sin, torch.cos) for s in (1, 2) for axis in (x, y)]
        q = 2 * torch.stack(waves, -1).view(1, 1, 196, 8).double()
        _, _, v = heads(1, 1, 196, 8)

        def error(marks: Tensor) -> float:
            out = attention.nystrom_attention(q, q, v, marks, marks, 20)
            return float((out - exact(q, q, v)).square().mean())

        assert error(grid_landmarks(q, (4, 4), (14, 14))) < error(segment_means(q, 16, 2))


class TestMultiAxis:
    def test_window_of_the_whole_grid_is_exact_attention_twice(self) -> None:
        q, k, v = heads(2, 3, 17, 4)
        out = attention.multi_axis_attention(
            q, k, v, window=(4, 4), num_prefix_tokens=1, grid_size=(4, 4)
        )
        torch.testing.assert_close(out, exact(q, k, exact(q, k, v)))

    @pytest.mark.parametrize(("axis", "group"), [("block", [0, 1, 4, 5]), ("grid", [0, 2, 8, 10])])
    def test_a_token_attends_to_its_group_alone(self, axis: Any, group: list[int]) -> None:
        q, k, v = heads(1, 2, 16, 4)
        out = axis_attention(q, k, v, axis, window=(2, 2), num_prefix_tokens=0, grid_size=(4, 4))
        expected = exact(q[:, :, group], k[:, :, group], v[:, :, group])
        torch.testing.assert_close(out[:, :, group], expected)

    @pytest.mark.parametrize(("side", "window"), [(4, 2), (9, 3), (28, 7)])
    def test_one_layer_reaches_everywhere_while_the_side_is_at_most_the_window_squared(
        self, side: int, window: int
    ) -> None:
        q, k, _ = heads(1, 1, side * side, 2)
        reach = attention.multi_axis_attention(
            q,
            k,
            torch.eye(side * side).double()[None, None],  # the output is the attention matrix
            window=(window, window),
            num_prefix_tokens=0,
            grid_size=(side, side),
        )
        assert (reach > 0).all()
        torch.testing.assert_close(reach.sum(-1), torch.ones(1, 1, side * side).double())

    def test_a_side_without_divisors_is_explained(self) -> None:
        with pytest.raises(MiramError, match="grid side of 11"):
            MultiAxisConfig().layer(1, (11, 11))(DIM, num_heads=HEADS)


class TestFocusedLinear:
    def test_equals_the_normalized_relu_kernel(self) -> None:
        q, k, v = heads(2, 3, 9, 4)
        kernel = q.relu() @ k.relu().mT
        expected = 2 * kernel @ v / kernel.sum(-1, keepdim=True)
        out = attention.focused_linear_attention(q, k, v, torch.full((3,), 2.0), 1e-30)
        seen = kernel.sum(-1) > 0  # a query that meets no key reads zero
        torch.testing.assert_close(out[seen], expected[seen])
        assert (out[~seen] == 0).all()

    def test_floor_bounds_the_denominator(self) -> None:
        q, k, v = heads(2, 3, 9, 4)
        kernel = q.relu() @ k.relu().mT
        out = attention.focused_linear_attention(q, k, v, torch.ones(3), 1e6)
        torch.testing.assert_close(out, kernel @ v / 1e6)

    def test_local_module_reaches_its_kernels_and_no_further(self) -> None:
        layer = make(FocusedLinearConfig(kernel=3), side=9).local
        image = torch.randn(1, DIM, 9, 9, generator=torch.Generator().manual_seed(0))
        image.requires_grad_()
        layer(image)[0, :, 4, 4].sum().backward()
        assert image.grad is not None
        touched = image.grad.abs().sum((0, 1)) > 0  # (9, 9)
        assert touched[2:7, 2:7].all()  # two kernels of 3 see two tokens each way
        assert int(touched.sum()) == 25
