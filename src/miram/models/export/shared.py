"""What every export shares: its packages, the comparison of outputs, the page beside it."""

import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from miram.errors import MiramError, writing
from miram.files import atomic_path
from miram.models.checkpoints.files import HEADER, EncoderCheckpoint

TOLERANCE = 1e-4  # absolute, and relative to the value
_BATCH = 3  # unlike the batch that a graph was traced with
_PAGE = """---
tags: [mammography, self-supervised, feature-extraction]
library_name: {library}
---

# Encoder of mammographic lesion crops

```python
{loading}
```

Input: (B, {channels}, {size}, {size}), grey levels in [0, 1] (8-bit images divided by 255,
16-bit crops by 65535), {pixels}; larger crops are brought to this size by area averages
thereafter. Research software: not a medical device.

License of the weights: {license}.

What they came from:

```json
{header}
```
"""


def require_packages(*names: str) -> None:
    """Check that packages of the extra `export` can be imported."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MiramError(
                f"this export needs the package {name}: run pip install -c constraints.txt "
                "-e '.[export]' in the checkout"
            ) from error


def sample_images(checkpoint: EncoderCheckpoint, batch: int = _BATCH) -> Tensor:
    """Images to compare outputs on: (B, C, S, S) standardized noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(batch, *checkpoint.input_shape, generator=generator)
    return checkpoint.pixels.standardize(grey)


@torch.inference_mode()
def encode(encoder: nn.Module, images: Tensor) -> Tensor:
    """Tokens of a timm model: (B, C, S, S) -> (B, 1 + L, D) for a vision transformer."""
    tokens: Tensor = encoder.forward_features(images)  # type: ignore[operator]
    return tokens


def require_same(theirs: Tensor, ours: Tensor, what: str) -> None:
    """Check that an export computes what the encoder computes, within `TOLERANCE`."""
    if theirs.shape != ours.shape:
        raise MiramError(f"{what} gives {tuple(theirs.shape)}, the encoder {tuple(ours.shape)}")
    if not torch.allclose(theirs, ours, atol=TOLERANCE, rtol=TOLERANCE):
        error = (theirs - ours).abs().max().item()
        raise MiramError(f"{what} differs from the encoder by up to {error:.2g}: not written")


def require_softmax(checkpoint: EncoderCheckpoint, library: str) -> None:
    """Check that a library has the attention of an encoder, which is softmax or timm's own."""
    attention = checkpoint.timm_arguments().get("attn_layer")
    if isinstance(attention, dict):
        raise MiramError(
            f"{library} has no {attention['kind']} attention, and would compute softmax with these "
            "weights: export to ONNX, or load the file by miram.models.checkpoints.load_checkpoint"
        )


@contextmanager
def atomic_folder(folder: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` when the block ends without an error."""
    folder = Path(folder)
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not replace:
        raise MiramError(f"{folder} exists: remove it, or export to another place")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with writing(folder):
            yield temporary
        temporary.chmod(0o755)
        if taken:  # a full folder cannot be renamed over
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_card(checkpoint: EncoderCheckpoint, folder: Path, library: str, loading: str) -> None:
    """Write `README.md` for a hub: the library that loads the weights, and the code to do it."""
    channels, size, _ = checkpoint.input_shape
    known = {key: checkpoint.metadata[key] for key in HEADER if key in checkpoint.metadata}
    page = _PAGE.format(
        library=library,
        loading=loading,
        channels=channels,
        size=size,
        pixels=checkpoint.pixels.words,
        license=checkpoint.license,
        header=json.dumps(known, indent=2),
    )
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(page)
