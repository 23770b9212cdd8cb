"""Crops in, features out: resizing, standardization, encoder and pooling as one module."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miram.evaluation.encoding_batches import batch_that_fits, encode_in_batches
from miram.evaluation.pooling import FeatureConfig, encode_parts
from miram.files import atomic_path
from miram.memory import free_memory
from miram.models.checkpoints import EncoderCheckpoint
from miram.models.export_checks import require_same
from miram.models.joined_checkpoints import single_encoder
from miram.models.pixels import to_unit

_BATCH = 2  # torch.export would take a batch of one for a constant


class CropEncoder(nn.Module):
    """What the probes read, computed from crops as the store holds them.

    It gives what `miram.evaluation.features.extract_features` gives. As a module it is built
    once for many calls, and can be exported whole.

    Args:
        checkpoint: The encoder.
        config: How tokens become one vector.
    """

    def __init__(self, checkpoint: EncoderCheckpoint, config: FeatureConfig) -> None:
        super().__init__()
        self.encoder = single_encoder(checkpoint).build()
        self.config = config
        self.channels, self.side, _ = checkpoint.input_shape
        self.mean, self.deviation = checkpoint.pixels

    @property
    def reads_masks(self) -> bool:
        """Whether the features depend on where in the crop the lesion is."""
        return "lesion" in self.config.pooling

    def forward(self, images: Tensor, coverage: Tensor | None = None) -> Tensor:
        """Encode crops.

        Args:
            images: (B, H, H) grey levels in [0, 1].
            coverage: (B, h, h) uint8 lesion coverage, 255 for all of a cell; None for no mask.

        Returns:
            (B, D) features.
        """
        views = images.unsqueeze(1)  # (B, H, H) -> (B, 1, H, H)
        size = (self.side, self.side)
        if self.side < views.shape[-1]:
            views = F.interpolate(views, size=size, mode="area")
        elif self.side > views.shape[-1]:
            views = F.interpolate(views, size=size, mode="bilinear", align_corners=False)
        views = ((views - self.mean) / self.deviation).expand(-1, self.channels, -1, -1)
        if coverage is None:
            coverage = images.new_zeros((images.shape[0], 1, 1), dtype=torch.uint8)
        return encode_parts(self.encoder, views, coverage, self.config)


@torch.inference_mode()
def encode_crops(
    encoder: CropEncoder, crops: NDArray[np.uint16], masks: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Encode crops in batches on the device of the encoder.

    Args:
        encoder: In evaluation mode.
        crops: (n, H, H) uint16.
        masks: (n, h, h) uint8 lesion coverage.

    Returns:
        (n, D) float32.
    """
    device = next(encoder.parameters()).device

    def inputs(rows: slice) -> tuple[Tensor, Tensor]:
        images = to_unit(torch.from_numpy(np.array(crops[rows])).to(device)).squeeze(1)
        return images, torch.from_numpy(np.array(masks[rows])).to(device)

    batch = encoder.config.batch_size
    if len(crops) > 1:
        batch = batch_that_fits(encoder, inputs(slice(0, 1)), free_memory(device), batch)
    pieces = encode_in_batches(lambda rows: encoder(*inputs(rows)).cpu(), len(crops), batch)
    return torch.cat(pieces).numpy()


def example_crops(side: int, cells: int, batch: int = _BATCH) -> tuple[Tensor, Tensor]:
    """Crops of nobody to trace and compare with: (B, H, H) in [0, 1] and (B, h, h) uint8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, side, side, generator=generator)
    coverage = torch.randint(0, 256, (batch, cells, cells), generator=generator)
    return images, coverage.to(torch.uint8)


def export_graph(encoder: CropEncoder, side: int, cells: int, path: str | Path) -> None:
    """Write the module as a `torch.export` file, which needs no code of ours to be run.

    The graph is called as `graph(images)`, and as `graph(images, coverage)` if the features
    depend on the lesion mask. Its batch size is free. The format belongs to a version of
    torch; the weights that last are the safetensors file beside it.

    Args:
        encoder: On the CPU, in evaluation mode.
        side: H.
        cells: h.
        path: File to write.

    Raises:
        MiramError: The graph gives other features than the module.
    """
    batch = torch.export.Dim("batch")
    arguments = _arguments(encoder, side, cells, _BATCH)
    with torch.no_grad():
        program = torch.export.export(
            encoder, arguments, dynamic_shapes=tuple({0: batch} for _ in arguments)
        )
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            # Every node carries the stack trace that made it, with the paths of this machine.
            node.meta.pop("stack_trace", None)
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary)
        graph = torch.export.load(temporary).module()
    for size in (1, 3):
        images = _arguments(encoder, side, cells, size)
        with torch.inference_mode():
            require_same(graph(*images), encoder(*images), "the exported graph")


def _arguments(encoder: CropEncoder, side: int, cells: int, batch: int) -> tuple[Tensor, ...]:
    images, coverage = example_crops(side, cells, batch)
    return (images, coverage) if encoder.reads_masks else (images,)
