"""What every attention promises."""

import copy
import pickle
from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, SIDE, heads, make, tokens
from model_checks import parameters_without_gradient, saved_bytes
from timm.layers import Attention as TimmAttention
from timm.models.vision_transformer import Block

from miram.errors import MiramError
from miram.models import attention
from miram.models.attention import (
    ATTENTIONS,
    FocusedLinearConfig,
    GatedConvConfig,
    HaloConfig,
    LinformerConfig,
    LongShortConfig,
    MultiAxisConfig,
    NeighborhoodConfig,
    NystromConfig,
    PyramidConfig,
    VaryingWindowConfig,
)

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

    def test_half_precision_is_finite_on_a_long_sequence(self, config: Any) -> None:
        layer, x = make(config, side=56, dim=16, heads=2), tokens(side=56, dim=16, batch=1)
        with torch.autocast("cpu", torch.float16):
            y = layer(4 * x)  # (1, 3137, 16)
        y.float().square().mean().backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())

    def test_autocast_agrees_with_full_precision(self, config: Any) -> None:
        layer, x = make(config, side=14), tokens(side=14)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        torch.testing.assert_close(y.float(), layer(x), rtol=0, atol=0.05)

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


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_exported_program_gives_the_same_numbers(kind: str) -> None:
    layer, x = make(VARIANTS[kind]), tokens()
    program = torch.export.export(layer, (x,), strict=False)
    torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=1e-6)


def test_registry_names_every_attention_by_its_kind() -> None:
    assert {"softmax", "linformer", "performer", "nystrom"} <= ATTENTIONS.keys()
    for kind in ATTENTIONS:
        assert ATTENTIONS.model_validate({"kind": kind}).kind == kind
        assert callable(getattr(attention, f"{kind}_attention"))


# Order of the tokens. Some attentions treat tokens as a set. The others do not: Linformer's E has a
# column per position, Nyström's landmarks and convolution, windows and L²ViT's convolutions follow
# the grid.
ON_THE_GRID = [kind for kind, config in ATTENTIONS.items() if config.module.needs_grid]


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
