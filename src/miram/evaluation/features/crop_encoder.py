"""Crops in, features out: resizing, standardization, encoder and pooling as one module."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miram.errors import MiramError
from miram.evaluation.features.pooling import FeatureConfig, encode_parts
from miram.files import atomic_path
from miram.memory import free_memory, is_out_of_memory
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import single_encoder
from miram.models.export.shared import require_same
from miram.models.images import to_unit
from miram.progress import track

log = logging.getLogger(__name__)

_LIVE = 4  # tensors of the size of the largest that an encoder holds at once
_SHARE = 0.5  # of the free memory


def batch_that_fits(encoder: nn.Module, row: tuple[Tensor, ...], free: int, at_most: int) -> int:
    """How many rows memory holds, by what the layers give out for one of them.

    It is an estimate, since layers also work with memory that they do not give out:
    `encode_in_batches` takes smaller batches where it was too high. `row` is what the encoder
    takes for one, `free` counts bytes.
    """
    largest = 1

    def note(_: nn.Module, __: Any, given: Any) -> None:
        nonlocal largest
        if isinstance(given, Tensor):
            largest = max(largest, given.nbytes)

    layers = [module for module in encoder.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.inference_mode():
            encoder(*row)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return 1
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(at_most, int(_SHARE * free) // (_LIVE * largest)))


def encode_in_batches(
    encode: Callable[[slice], Tensor], count: int, batch_size: int
) -> list[Tensor]:
    """Features of `count` rows in pieces, smaller ones from where memory no longer suffices.

    Raises:
        MiramError: Memory does not suffice for a single row.
    """
    found, piece = [], batch_size
    starts = range(0, count, batch_size)
    for start in track(starts, "encoded batches", total=len(starts)):
        stop = min(start + batch_size, count)
        while start < stop:
            part = _encoded(encode, slice(start, min(start + piece, stop)))
            if part is not None:
                found.append(part)
                start += piece
                continue
            if piece == 1:
                raise MiramError(
                    "the memory of the device does not suffice to encode one crop: free it, "
                    "or set CUDA_VISIBLE_DEVICES= to use the CPU"
                )
            piece //= 2
            log.warning("memory does not suffice: encoding %d crops at once", piece)
            # Only now: what the failed batch held is free once its error is forgotten.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return found


def _encoded(encode: Callable[[slice], Tensor], rows: slice) -> Tensor | None:
    """The features of some rows, None where memory does not suffice for them."""
    try:
        return encode(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


_BATCH = 2  # torch.export would take a batch of one for a constant


class CropEncoder(nn.Module):
    """What the probes read, computed from crops as the store holds them.

    It gives what `miram.evaluation.features.extract.extract_features` gives. As a module it is
    built once for many calls, and can be exported whole.

    Args:
        checkpoint: The encoder.
        config: How tokens become one vector.
    """

    def __init__(self, checkpoint: EncoderCheckpoint, config: FeatureConfig) -> None:
        super().__init__()
        self.encoder = single_encoder(checkpoint).build()
        self.config = config
        self.channels, self.image_size, _ = checkpoint.input_shape
        self.pixels = checkpoint.pixels

    def forward(self, images: Tensor, coverage: Tensor | None = None) -> Tensor:
        """Encode crops.

        Args:
            images: (B, H, H) grey levels in [0, 1].
            coverage: (B, h, h) uint8 lesion coverage, 255 for all of a cell; None for no mask.

        Returns:
            (B, D) features, center crop by center crop and layer by layer; `grey` last.
        """
        if coverage is None:
            coverage = images.new_zeros((images.shape[0], 1, 1), dtype=torch.uint8)
        found = []
        for share in self.config.center_crops:
            lesion = center_crop(coverage, share)
            found.append(encode_parts(self.encoder, self.views(images, share), lesion, self.config))
        if "grey" in self.config.pooling:
            deviation = images.std(dim=(1, 2), correction=0)
            found.append(torch.stack([images.mean(dim=(1, 2)), deviation], dim=1))
        return torch.cat(found, dim=1)

    def views(self, images: Tensor, share: float) -> Tensor:
        """What the encoder sees of the central part of crops: (B, H, H) -> (B, C, S, S)."""
        views = self._resized(center_crop(images, share).unsqueeze(1))  # -> (B, 1, S, S)
        return views.expand(-1, self.channels, -1, -1)

    def _resized(self, views: Tensor) -> Tensor:
        """As in training: standardized as they are, then resized."""
        views = self.pixels.standardize(views)
        size = (self.image_size, self.image_size)
        if self.image_size < views.shape[-1]:
            return F.interpolate(views, size=size, mode="area")
        if self.image_size > views.shape[-1]:
            return F.interpolate(views, size=size, mode="bilinear", align_corners=False)
        return views


def center_crop(images: Tensor, share: float) -> Tensor:
    """The central part of square images, of at least one pixel: (B, H, H) -> (B, h, h)."""
    size = images.shape[-1]
    edge = round((1 - share) / 2 * size)
    edge = min(edge, (size - 1) // 2)
    return images[:, edge : size - edge, edge : size - edge]


@torch.inference_mode()
def encode_crops(
    encoder: CropEncoder, crops: NDArray[np.uint16], masks: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Encode crops (n, H, H) with masks (n, h, h) in batches on the device of the encoder.

    The encoder is in evaluation mode. The features are (n, D) float32.
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


def example_crops(image_size: int, cells: int, batch: int = _BATCH) -> tuple[Tensor, Tensor]:
    """Crops of nobody to trace and compare with: (B, H, H) in [0, 1] and (B, h, h) uint8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, image_size, image_size, generator=generator)
    coverage = torch.randint(0, 256, (batch, cells, cells), generator=generator)
    return images, coverage.to(torch.uint8)


def export_graph(encoder: CropEncoder, image_size: int, cells: int, path: str | Path) -> None:
    """Write the module as a `torch.export` file, which needs no code of ours to be run.

    The graph is called as `graph(images)`, and as `graph(images, coverage)` if the features
    depend on the lesion mask. Its batch size is free. The format belongs to a version of
    torch; the weights that last are the safetensors file beside it. The encoder is on the CPU, in
    evaluation mode.

    Raises:
        MiramError: The graph gives other features than the module.
    """
    batch = torch.export.Dim("batch")
    arguments = _arguments(encoder, image_size, cells, _BATCH)
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
        images = _arguments(encoder, image_size, cells, size)
        with torch.inference_mode():
            require_same(graph(*images), encoder(*images), "the exported graph")


def _arguments(encoder: CropEncoder, image_size: int, cells: int, batch: int) -> tuple[Tensor, ...]:
    images, coverage = example_crops(image_size, cells, batch)
    return (images, coverage) if encoder.config.reads_masks else (images,)
