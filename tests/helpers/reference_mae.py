"""A masked autoencoder of other code and files of its weights, and models of ours to start from."""

from functools import partial

import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.pretrained_weights.load import InitializationConfig, initialize_from

SIDE, PATCH, DIM, DEPTH, HEADS, DECODER_DIM = 32, 8, 32, 2, 2, 16
GRID = SIDE // PATCH
OVERRIDES = {"embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS}
SCALE_1 = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 2, "heads": 4}
SCALE_2 = {"scale": 2, "attention": {"kind": "nystrom", "num_landmarks": 8}, "depth": 1, "heads": 4}


def encoder_config(**changes):
    values = {
        "name": "vit_tiny_patch16_224",
        "image_size": SIDE,
        "patch_size": PATCH,
        "pixels": "half",
    }
    return EncoderConfig(**{**values, "overrides": OVERRIDES, **changes})


def masked_autoencoder(*decoders, seed=5, encoder=None, **changes):
    config = {"decoders": decoders or (SCALE_1,), "decoder_dim": DECODER_DIM, **changes}
    built = MaskedAutoencoderConfig(**config).build(encoder or encoder_config(), seed)
    return built.eval()


def start(model, checkpoint, **options):
    """Start a method, or an encoder alone, from a checkpoint."""
    if isinstance(model, VisionTransformer):
        model = nn.ModuleDict({"encoder": model})
    return initialize_from(model, InitializationConfig(checkpoint=str(checkpoint), **options))


class ReferenceMae(nn.Module):
    """The model of He et al. (2022) from timm's parts, under the names of their code."""

    def __init__(self, channels=3, side=SIDE):
        super().__init__()
        vit = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=side,
            patch_size=PATCH,
            in_chans=channels,
            num_classes=0,
            **OVERRIDES,
        )
        self.cls_token, self.pos_embed = vit.cls_token, vit.pos_embed
        self.patch_embed, self.blocks, self.norm = vit.patch_embed, vit.blocks, vit.norm
        self.decoder_embed = nn.Linear(DIM, DECODER_DIM)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, DECODER_DIM))
        tokens = self.pos_embed.shape[1]
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, tokens, DECODER_DIM))
        norm = {"norm_layer": partial(nn.LayerNorm, eps=1e-6)}
        self.decoder_blocks = nn.ModuleList(
            Block(DECODER_DIM, 4, 4.0, qkv_bias=True, **norm) for _ in range(2)
        )
        self.decoder_norm = nn.LayerNorm(DECODER_DIM, eps=1e-6)
        self.decoder_pred = nn.Linear(DECODER_DIM, PATCH**2 * channels)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)
        positions = masked_autoencoder().decoders[0].positions
        if self.decoder_pos_embed.shape == positions.shape:
            self.decoder_pos_embed.data.copy_(positions)

    def encode(self, images, keep):
        patches = self.patch_embed(images) + self.pos_embed[:, 1:]
        rows = torch.arange(len(images)).unsqueeze(1)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        tokens = torch.cat([cls, patches[rows, keep]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def predict(self, images, noise):
        """Pixels of each patch, (B, L, p, p, C) as their code lays them out."""
        order = noise.argsort(dim=1)
        keep = order[:, : order.shape[1] // 4]
        tokens = self.decoder_embed(self.encode(images, keep))
        grid = self.mask_token.expand(len(images), order.shape[1], -1).clone()
        grid[torch.arange(len(images)).unsqueeze(1), keep] = tokens[:, 1:]
        tokens = torch.cat([tokens[:, :1], grid], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        pixels = self.decoder_pred(self.decoder_norm(tokens))[:, 1:]
        return pixels.unflatten(2, (PATCH, PATCH, -1))


def tokens_of_reference(reference, images):
    return reference.encode(images, torch.arange(GRID**2).expand(len(images), -1))


# Names of Hugging Face's files by those of MAE, written out here a second time on purpose.
HF_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
HF_TOP = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
}


def hugging_face_names(state):
    renamed = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        if name in HF_TOP:
            renamed[HF_TOP[name]] = value
        elif stem in HF_TOP:
            renamed[f"{HF_TOP[stem]}.{kind}"] = value
        elif "blocks." in name:
            where, number, part = stem.split(".", 2)
            layer = "vit.encoder.layer" if where == "blocks" else "decoder.decoder_layers"
            if part == "attn.qkv":
                for one, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    key = f"{layer}.{number}.attention.attention.{one}.{kind}"
                    renamed[key] = third.clone()
            else:
                renamed[f"{layer}.{number}.{HF_BLOCK[part]}.{kind}"] = value
        else:
            renamed[f"decoder.{name}"] = value
    return renamed
