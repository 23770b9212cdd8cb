import pytest
import timm
import torch
from pydantic import ValidationError
from tiny import VIT_TINY as CONFIG

from miram.errors import MiramError
from miram.finetuning.model import FineTuned
from miram.models.attention import ATTENTIONS
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.encoder import EncoderConfig, encode_levels
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.methods.moco import MocoV3Config
from miram.models.methods.supervised import SupervisedConfig


@pytest.mark.parametrize("registers", [0, 4])
def test_encoding_all_patches_equals_timm(registers):
    vit = CONFIG.model_copy(update={"registers": registers}).build(seed=0).eval()
    assert vit.num_prefix_tokens == 1 + registers
    images = torch.rand(2, 1, 32, 32)
    keep = torch.arange(16).expand(2, -1)
    expected = vit.forward_features(images)
    torch.testing.assert_close(encode_levels(vit, images, keep)[2], expected)


def test_saved_encoder_loads_in_one_line_of_timm(tmp_path):
    config = EncoderConfig(name="vit_tiny_patch16_224", image_size=224, patch_size=16)
    vit = config.build(seed=3).eval()
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint.of(vit, {"timm": config.timm_arguments}).save(path)
    loaded = timm.create_model(
        "vit_tiny_patch16_224", in_chans=1, num_classes=0, checkpoint_path=str(path)
    ).eval()
    images = torch.rand(1, 1, 224, 224)
    assert torch.equal(loaded(images), vit(images))


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    CONFIG.build(seed=0)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 65}, "64 would be"),
        ({"name": "vit_tinny_patch16_224"}, "timm has no model"),
        ({"chanels": 1}, "chanels"),
        ({"overrides": {"dept": 3}}, "no argument dept; did you mean depth"),
        ({"overrides": {"img_size": 32}}, "set encoder.image_size"),
        ({"overrides": {"patch_size": 4}}, "set encoder.patch_size"),
        ({"overrides": {"in_chans": 3}}, "set encoder.channels"),
        ({"overrides": {"reg_tokens": 4}}, "set encoder.registers"),
        ({"registers": -1}, "greater than or equal to 0"),
        ({"overrides": {"num_classes": 2}}, "an encoder has no classifier"),
        ({"overrides": {"global_pool": "avg"}}, "say how tokens are pooled"),
        ({"overrides": {"patch_drop_rate": 0.5}}, "set method.mask_ratio"),
        ({"overrides": {"pos_drop_rate": 0.1}}, "no effect here"),
    ],
)
def test_impossible_encoders_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        EncoderConfig(
            **{"name": "vit_tiny_patch16_224", "image_size": 64, "patch_size": 8, **values}
        )


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet18", {}, "timm cannot make the encoder resnet18"),
        ("vit_small_patch16_dinov3", {}, "of timm's class Eva"),
        ("vit_tiny_r_s16_p8_224", {}, "embeds patches by more than one linear map"),
        ("vit_small_r26_s32_224", {}, "timm cannot make"),
        ("vit_dpwee_patch16_reg1_gap_256", {}, "has no CLS token"),
        ("vit_base_patch16_siglip_224", {}, "has no CLS token"),
        ("vit_small_patch14_reg4_dinov2", {}, "has 4 registers, where encoder.registers is 0"),
        ("deit_tiny_distilled_patch16_224", {}, "has a token for distillation"),
        ("vit_tiny_patch16_224", {"no_embed_class": True}, "no learned position"),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}, "no learned position"),
        ("vit_tiny_patch16_224", {"embed_norm_layer": "layernorm"}, "more than one linear map"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, "no multiple of num_heads 5"),
        ("vit_tiny_patch16_224", {"embed_dim": 198}, "no multiple of 4"),
    ],
)
def test_a_model_that_is_no_plain_vision_transformer_is_refused(name, overrides, message):
    overrides = {"depth": 1, **overrides} if name != "resnet18" else {}
    config = EncoderConfig(name=name, image_size=64, patch_size=8, overrides=overrides)
    with pytest.raises(MiramError, match=message), torch.device("meta"):
        config.build(seed=0)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("deit_tiny_patch16_224", {}),
        ("vit_small_patch14_dinov2", {}),  # layer scale
        ("vit_base_patch32_clip_224", {"embed_dim": 64, "num_heads": 2}),  # a norm before, no bias
        ("vit_small_patch16_18x2_224", {}),  # parallel blocks
        ("vit_tiny_patch16_224", {"qk_norm": True, "init_values": 0.1}),
    ],
)
@torch.no_grad()
def test_plain_vision_transformers_of_all_kinds_encode_as_in_timm(name, overrides):
    config = EncoderConfig(
        name=name, image_size=32, patch_size=8, overrides={"depth": 1, **overrides}
    )
    vit = config.build(seed=0).eval()
    images = torch.rand(2, 1, 32, 32)
    found = encode_levels(vit, images, torch.arange(16).expand(2, -1))[len(vit.blocks)]
    torch.testing.assert_close(found, vit.forward_features(images))


def test_registers_are_learned_tokens_without_a_place():
    vit = CONFIG.model_copy(update={"registers": 4}).build(seed=0)
    assert vit.reg_token.shape == (1, 4, 192)
    assert vit.reg_token.std() > 0.01
    assert not vit.pos_embed[:, :5].any()
    assert torch.equal(vit.pos_embed[:, 5:], CONFIG.build(seed=0).pos_embed[:, 1:])


# Attentions of the encoder. Those that need the grid cannot do without the hidden patches.

OF_SETS = [kind for kind, config in ATTENTIONS.items() if not config.module.needs_grid]
OF_GRIDS = sorted(ATTENTIONS.keys() - set(OF_SETS))


def with_attention(kind, **changes):
    settings = {"kind": kind, **({"length": 4} if kind == "linformer" else {})}
    return EncoderConfig(**{**CONFIG.model_dump(), "attention": settings, **changes})


def masked(encoder):
    decoder = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2}
    return MaskedAutoencoderConfig(decoders=[decoder], decoder_dim=16).build(encoder, seed=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(ATTENTIONS))
def test_an_encoder_of_any_attention_is_made_again_from_its_file(tmp_path, kind):
    config = with_attention(kind, registers=2)
    vit = config.build(seed=3).eval()
    facts = {"timm": config.timm_arguments, "image_size": 32}
    EncoderCheckpoint.of(vit, facts).save(tmp_path / "encoder.safetensors")
    loaded = EncoderCheckpoint.load(tmp_path / "encoder.safetensors")
    again = loaded.build()
    tuned = FineTuned(loaded, "patches", torch.ones(2), several=False).eval()
    images = torch.rand(2, 1, 32, 32)
    expected = vit.forward_features(images)
    assert torch.equal(again.forward_features(images), expected)
    assert torch.equal(tuned.encoder.forward_features(images), expected)
    softmax = with_attention("softmax", registers=2).build(seed=3)
    softmax.load_state_dict(vit.state_dict(), strict=False)
    same = torch.allclose(softmax.eval().forward_features(images), expected, atol=1e-4)
    # Windows of these cover the grid of 4 x 4.
    assert same == (kind in ("softmax", "math", "affine", "halo", "long_short", "pyramid"))


@pytest.mark.parametrize("kind", sorted(ATTENTIONS))
def test_any_attention_learns_from_whole_images(kind):
    images = torch.rand(2, 1, 32, 32)
    model = SupervisedConfig().build(with_attention(kind), seed=0)
    model(images, torch.tensor([0, 1])).loss.backward()
    moco = MocoV3Config(hidden=8, width=4).build(with_attention(kind), seed=0)
    moco(images[:, None].expand(-1, 2, -1, -1, -1)).loss.backward()
    for encoder in (model.encoder, moco.encoder):
        assert encoder.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", OF_SETS)
def test_an_attention_to_sets_encodes_visible_patches_alone(kind):
    model = masked(with_attention(kind)).eval()
    images, noise = torch.rand(2, 1, 32, 32), torch.rand(2, 16)
    output = model(images, noise)
    output.loss.backward()
    assert model.encoder.blocks[0].attn.qkv.weight.grad.abs().sum() > 0
    hidden = output.mask.view(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = model(images + hidden, noise)
    assert torch.equal(changed.predictions[0], output.predictions[0])


@pytest.mark.parametrize("kind", OF_GRIDS)
def test_an_attention_to_the_grid_is_refused_where_patches_are_hidden(kind):
    with pytest.raises(MiramError, match=f"{kind} needs all patches .* softmax or math"):
        masked(with_attention(kind))


def test_two_attentions_at_once_are_refused():
    with pytest.raises(ValidationError, match="attn_layer contradicts attention"):
        with_attention("halo", overrides={"attn_layer": "diff"})
