"""An encoder as one ONNX file, for programs without Python or torch."""

import warnings
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.files import atomic_path
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import single_encoder
from miram.models.export.shared import encode, require_packages, require_same, sample_images

INPUT = "images"
OUTPUTS = ("features", "cls", "patches")


def export_onnx(checkpoint: EncoderCheckpoint, path: str | Path) -> None:
    """Write an ONNX file with a free batch size, and check it in ONNX Runtime.

    Input: `images` (B, C, S, S) float32, grey levels in [0, 1] standardized as the `pixels` of
    the header say. Outputs: `features` (B, D), the mean over the
    patches, which the probes read; `cls` (B, D); `patches` (B, L, D) row by row; all after the
    last norm. The header of the checkpoint is in the file's `metadata_props`. A file that exists
    is replaced.

    Raises:
        MiramError: The packages of the extra `export` are not installed, the encoder is no
            vision transformer or one of several folds, or the file gives other numbers.
    """
    require_packages("onnx", "onnxscript", "onnxruntime")
    checkpoint = single_encoder(checkpoint)
    encoder = checkpoint.build_vision_transformer()
    with atomic_path(path) as temporary:
        _write(checkpoint, encoder, temporary)
        _check(checkpoint, encoder, temporary)


class _Outputs(nn.Module):
    def __init__(self, encoder: VisionTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.encoder.forward_features(images)  # (B, 1 + L, D)
        return split_tokens(tokens, self.encoder.num_prefix_tokens)


def split_tokens(tokens: Tensor, prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, D), CLS (B, D) and patches (B, L, D) of tokens (B, prefix + L, D)."""
    patches = tokens[:, prefix:]
    return patches.mean(dim=1), tokens[:, 0], patches


def _write(checkpoint: EncoderCheckpoint, encoder: VisionTransformer, path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    with warnings.catch_warnings():
        # The exporter of torch warns of its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Outputs(encoder).eval(),
            (sample_images(checkpoint, batch=2),),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    # Every node carries the stack trace that made it, with the paths of this machine.
    ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props.update(checkpoint.header())
    program.save(str(path), external_data=False)


def _check(checkpoint: EncoderCheckpoint, encoder: VisionTransformer, path: Path) -> None:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = sample_images(checkpoint, batch)
        theirs = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        ours = split_tokens(encode(encoder, images), encoder.num_prefix_tokens)
        for name, a, b in zip(OUTPUTS, theirs, ours, strict=True):
            require_same(torch.from_numpy(a), b, f"the ONNX file's output {name!r}")
