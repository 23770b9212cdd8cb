"""Weights on disk: safetensors files whose header says what they came from."""

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import timm
import torch
from pydantic import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.files import check, newest_version, recorded_path
from miram.models.attention import SoftmaxConfig
from miram.models.encoder import EncoderConfig, create_encoder
from miram.models.pixels import CROP, Pixels

# What the header of a finished checkpoint holds; `describe_checkpoint` names what is absent.
HEADER = (
    *("holds", "timm", "method", "training", "data_digest", "git_commit", "license"),
    "pixels",
)
_NO_MODEL = (  # what timm raises at arguments that make none
    *(RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError),
    *(AttributeError, MemoryError, MiramError),
)
RENAMED = {
    "image_side": "image_size",
    "patch_side": "patch_size",
    "crops_wait": "crop_cache",
    "watch_every": "validate_every",
}


class _Training(Config):
    model_config = ConfigDict(extra="allow")

    seed: int = 0


class _Fields(Config):
    """What is computed with of a header; its other fields may hold anything."""

    model_config = ConfigDict(extra="allow")

    training: _Training = _Training()
    seeds: dict[int, dict[str, Any]] | None = None
    folds: list[str] | None = None
    image_size: int | None = None
    pixel_mean: float = 0
    pixel_std: float = 1


@contextmanager
def making_a_model(header: Any) -> Iterator[None]:
    """Say that a header makes no model where something within the block cannot be made of it.

    A header is data from elsewhere, and what it names is made by code of others.

    Raises:
        MiramError: It makes none.
    """
    try:
        yield
    except _NO_MODEL as error:
        raise MiramError(f"the checkpoint's header ({header}) makes no model: {error}") from error


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what they came from.

    Attributes:
        state: Weights by name.
        metadata: `timm` (arguments that make the encoder), `method`, `training`,
            `data_digest`, `git_commit`, `license`, `pixels`, `holds` and whatever else is
            known; every value can be written as JSON.
    """

    holds: ClassVar[str]

    state: dict[str, Tensor]
    metadata: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse a header that says what cannot be, such as a word for a size."""
        try:
            _Fields.model_validate(self.metadata)
        except MiramError as error:
            raise MiramError(f"the checkpoint's header cannot be read: {error}") from None

    @classmethod
    def of(cls, model: nn.Module, metadata: dict[str, Any]) -> Self:
        """Copy the weights of a model to the CPU."""
        state = {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in model.state_dict().items()
        }
        return cls(state, {"holds": cls.holds, **metadata})

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all; the same content gives the same bytes."""
        with recorded_path(path) as temporary:
            write_weights(temporary, self.state, self.header())

    def header(self) -> dict[str, str]:
        """The metadata as it stands in a file: JSON by name."""
        return {"format": "pt"} | {key: json.dumps(value) for key, value in self.metadata.items()}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a safetensors file, or the newest of a study's folder of versions.

        Raises:
            MiramError: There is no such file, it is not what was written, or it holds something
                else.
        """
        check(newest_version(path))
        with _open(path) as file:
            metadata = read_header(file)
            held = metadata.get("holds", EncoderCheckpoint.holds)
            if held != cls.holds:
                raise MiramError(f"{path} holds {held!r} weights, not {cls.holds!r} weights")
            return cls({key: file.get_tensor(key) for key in file.keys()}, metadata)  # noqa: SIM118

    def require_one(self) -> None:
        """Refuse a file of several trainings, whose weights have names of their own."""
        for several, taken in (("seeds", "first_seed or split_seeds"), ("folds", "split_folds")):
            if several in self.metadata:
                raise MiramError(
                    f"the checkpoint holds {len(self.metadata[several])} {several}: take one by "
                    f"{taken} of miram.models.checkpoints.joined"
                )

    def timm_arguments(self) -> dict[str, Any]:
        """Arguments of `timm.create_model` for the encoder.

        A header is data from elsewhere: of its arguments only those that shape the model are
        taken, so that no file makes timm fetch weights.

        Raises:
            MiramError: The header does not say, or says more than the shape of a timm model.
        """
        arguments = self.metadata.get("timm")
        if arguments is None:
            raise MiramError(
                "the checkpoint's header does not say which timm model it is: load it with "
                "timm.create_model(name, in_chans=1, num_classes=0, checkpoint_path=...)"
            )
        name = arguments.get("model_name") if isinstance(arguments, dict) else None
        if not isinstance(name, str) or not timm.is_model(name):
            raise MiramError(f"the checkpoint's header names no model of timm: {arguments!r}")
        foreign = arguments.keys() - _shaping_arguments(name)
        if foreign:
            raise MiramError(
                f"the checkpoint's header has arguments that do not shape a model: "
                f"{', '.join(sorted(foreign))}. Take the file from whom you trust"
            )
        return dict(arguments)


@dataclass(frozen=True)
class EncoderCheckpoint(Checkpoint):
    """The weights of an encoder under timm's names."""

    holds: ClassVar[str] = "encoder"

    def build(self) -> nn.Module:
        """Make the encoder with these weights, in evaluation mode: any model of timm.

        Where the header says the size of images, `timm.data.resolve_data_config(model=encoder)`
        gives the images it expects. Where each crop is standardized by itself, mean and
        deviation are 0 and 1 there.
        """
        self.require_one()
        arguments = self.timm_arguments()
        with making_a_model(arguments):
            encoder = create_encoder(arguments, pretrained=False)
            encoder.load_state_dict(self.state)
        if self.image_size is not None:
            encoder.pretrained_cfg.update(self.timm_data_config())  # type: ignore[operator, union-attr]
        return encoder.eval()

    def build_vision_transformer(self) -> VisionTransformer:
        """Make the encoder, which must be a vision transformer with one CLS token."""
        encoder = self.build()
        if not isinstance(encoder, VisionTransformer) or not encoder.has_class_token:
            name = self.timm_arguments()["model_name"]
            raise MiramError(f"{name} is not a vision transformer with one CLS token")
        return encoder

    @property
    def image_size(self) -> int | None:
        """Side of the images that the encoder takes; None where the header does not say."""
        size = self.metadata.get("image_size") or self.timm_arguments().get("img_size")
        return None if size is None else int(size)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of the images that the encoder takes."""
        size = self.image_size
        if size is None:
            raise MiramError("the checkpoint's header does not say the size of its images")
        return int(self.timm_arguments().get("in_chans", 3)), size, size

    def timm_data_config(self) -> dict[str, Any]:
        """The images that the encoder takes, in timm's words."""
        channels, *size = self.input_shape
        mean, deviation = self.pixels.numbers
        per_channel = {"mean": (mean,) * channels, "std": (deviation,) * channels}
        return {"input_size": (channels, *size), **per_channel, "crop_pct": 1.0}

    @property
    def pixels(self) -> Pixels:
        """How grey levels in [0, 1] are standardized for the encoder."""
        return Pixels.from_header(self.metadata)

    @property
    def license(self) -> str:
        """The terms of the weights, which are those of the data they were trained on."""
        return str(self.metadata.get("license", "not stated by the checkpoint"))


@dataclass(frozen=True)
class PretrainedCheckpoint(Checkpoint):
    """All weights of a method: encoder, decoders and whatever else was trained.

    Of a method without a model of its own, `nn.ModuleDict({"encoder": encoder})` is saved.
    """

    holds: ClassVar[str] = "pretrained"

    def build(self) -> nn.Module:
        """Make the method's model with these weights, in evaluation mode.

        Raises:
            MiramError: The header is not enough to make it, or there are several.
        """
        self.require_one()
        from miram.models.methods.kinds import METHOD_KINDS

        if "method" not in self.metadata:
            raise MiramError("the checkpoint's header does not say which method it is")
        method = METHOD_KINDS.model_validate(self.metadata["method"])
        if not method.trained or method.needs_labels:
            raise MiramError(f"a header alone does not make a {method.kind!r} model: use encoder()")
        pixels = Pixels.from_header(self.metadata)
        with making_a_model(self.metadata):
            model = method.build(_encoder_config(self.timm_arguments(), pixels), seed=0)
            model.load_state_dict(self.state)
        return model.eval()

    def encoder(self) -> EncoderCheckpoint:
        """The encoder alone, with the same header."""
        self.require_one()
        state = weights_below(self.state, "encoder")
        return EncoderCheckpoint(state, {**self.metadata, "holds": EncoderCheckpoint.holds})


def load_checkpoint(path: str | Path) -> EncoderCheckpoint | PretrainedCheckpoint:
    """Read a checkpoint of either kind; the header tells which. See `Checkpoint.load`.

    Raises:
        MiramError: There is no such file, or it is damaged.
    """
    with _open(path) as file:
        held = read_header(file).get("holds")
    kind = PretrainedCheckpoint if held == PretrainedCheckpoint.holds else EncoderCheckpoint
    return kind.load(path)


def describe_checkpoint(path: str | Path) -> dict[str, Any]:
    """Describe any safetensors file without reading its weights.

    Returns:
        `file`, `bytes`, `tensors`, `parameters`, `header_lacks` (the fields of a header of ours
        that are absent) and every field of the header.

    Raises:
        MiramError: There is no such file, or it is damaged.
    """
    path = newest_version(path)
    with _open(path) as file:
        metadata = read_header(file)
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "tensors": len(shapes),
        "parameters": sum(math.prod(shape) for shape in shapes),
        "header_lacks": [field for field in HEADER if field not in metadata],
        **metadata,
    }


def weights_below(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of a part under their names within it; all of them for an empty name."""
    prefix = f"{part}." if part else ""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def weights_digest(state: Mapping[str, Tensor], more: bytes = b"") -> str:
    """Name of a set of weights: a hash of names, shapes, numbers and whatever else is given."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(more)
    return digest.hexdigest()[:16]


def read_header(file: safe_open) -> dict[str, Any]:
    """The header of an open safetensors file; fields of other tools stay text."""
    header = file.metadata() or {}
    return migrate({key: _decode(value) for key, value in header.items() if key != "format"})


def migrate(metadata: Any) -> Any:
    """Bring the header of an older file, at any depth, to the names of today."""
    if isinstance(metadata, dict):
        return {RENAMED.get(key, key): migrate(value) for key, value in metadata.items()}
    return [migrate(one) for one in metadata] if isinstance(metadata, list) else metadata


def _shaping_arguments(name: str) -> set[str]:
    """Arguments of the classes that stand where timm defines a model, and what we always give."""
    classes = vars(sys.modules[timm.model_entrypoint(name).__module__]).values()
    modules = [one for one in classes if isinstance(one, type) and issubclass(one, nn.Module)]
    known = {argument for one in modules for argument in inspect.signature(one).parameters}
    fetching = {"pretrained", *inspect.signature(timm.create_model).parameters}
    return (known - fetching) | {"model_name", "img_size", "in_chans", "num_classes"}


def write_weights(path: Path, state: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file whose header, texts by name, is sorted.

    safetensors keeps the header's fields in an order that differs from one call to the next.
    """
    content = save(state, metadata=header)
    end = 8 + int.from_bytes(content[:8], "little")
    found = json.loads(content[8:end])
    found["__metadata__"] = dict(sorted(found["__metadata__"].items()))
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8 bytes
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(memoryview(content)[end:])


def _open(path: str | Path) -> safe_open:
    path = newest_version(path)
    if not path.is_file():
        raise MiramError(f"there is no checkpoint at {path}")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise MiramError(f"{path} is not a whole safetensors file: {error}") from error


def _decode(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _encoder_config(arguments: dict[str, Any], pixels: Pixels) -> EncoderConfig:
    """The inverse of `EncoderConfig.timm_arguments`."""
    arguments.pop("num_classes", None)
    return EncoderConfig(
        name=arguments.pop("model_name"),
        image_size=arguments.pop("img_size"),
        patch_size=arguments.pop("patch_size"),
        channels=arguments.pop("in_chans"),
        pixels="crop" if pixels == CROP else pixels.numbers,
        registers=arguments.pop("reg_tokens", 0),
        attention=arguments.pop("attn_layer", SoftmaxConfig()),
        overrides=arguments,
    )
