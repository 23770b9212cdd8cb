"""An encoder as a folder that timm loads by itself, with `local-dir:` or from a hub."""

from pathlib import Path

import timm
from timm.models._hub import save_config_for_hf

from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import single_encoder
from miram.models.export.shared import (
    atomic_folder,
    encode,
    require_same,
    require_softmax,
    sample_images,
    write_card,
)

_LOADING = """import timm

encoder = timm.create_model("local-dir:<this folder>", pretrained=True).eval()
tokens = encoder.forward_features(images)  # CLS, then the patches row by row"""


def export_timm(checkpoint: EncoderCheckpoint, folder: str | Path) -> None:
    """Write `config.json`, `model.safetensors` and a page, and check what they give.

    `timm.create_model("local-dir:<folder>", pretrained=True)` makes the encoder; the weights
    keep the header of the checkpoint. Any model of timm can be exported.

    Raises:
        MiramError: The folder is taken, there is an encoder per fold, it has an attention that
            timm lacks, or the written model gives other tokens.
    """
    checkpoint = single_encoder(checkpoint)
    require_softmax(checkpoint, "timm")
    encoder = checkpoint.build()
    arguments = checkpoint.timm_arguments()
    arguments.pop("model_name")
    # timm would name the license and tag of its own weights for this architecture.
    terms = {
        "pretrained_cfg": {
            "tag": "miram",
            "license": checkpoint.license,
            "notes": (f"grey levels in [0, 1] {checkpoint.pixels.words}",),
        }
    }
    with atomic_folder(folder) as temporary:
        checkpoint.save(temporary / "model.safetensors")
        save_config_for_hf(
            encoder,
            str(temporary / "config.json"),
            model_config=terms,
            model_args=arguments,
            data_config=checkpoint.timm_data_config(),
        )
        write_card(checkpoint, temporary, "timm", _LOADING)
        loaded = timm.create_model(f"local-dir:{temporary}", pretrained=True).eval()
        images = sample_images(checkpoint)
        require_same(encode(loaded, images), encode(encoder, images), "the timm folder")
