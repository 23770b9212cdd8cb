"""Any timm model by name, frozen: what features made for other images are worth here."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import timm
import torch
from pydantic import Field
from timm.models import PretrainedCfg
from torch import nn

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig, TimmName
from miram.models.methods.config import MethodConfig
from miram.models.pixels import Pixels

HUB = "hub"


class TimmBackboneConfig(MethodConfig):
    """A timm model with fresh weights, weights of a local file, or timm's own.

    `pretrained: hub` is the one setting of the project that downloads weights at run time.
    Weights for color images serve one channel as timm does it: the first layer's are summed.
    """

    trained: ClassVar[bool] = False
    renamed: ClassVar[dict[str, str]] = {"image_side": "image_size"}

    kind: Literal["timm_backbone"] = "timm_backbone"
    name: TimmName = Field(description="name of a timm model, with its tag if weights are wanted")
    image_size: int | None = Field(
        None,
        ge=16,
        description="height and width of the input in pixels; the model's own by default",
    )
    pretrained: str | None = Field(
        None, description="a file of weights under timm's names, or `hub`; fresh if not given"
    )
    overrides: dict[str, Any] = Field(default_factory=dict, description="for timm.create_model")

    @property
    def _published(self) -> PretrainedCfg:
        return timm.get_pretrained_cfg(self.name) or PretrainedCfg()

    @property
    def input_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.image_size or int(self._published.input_size[-1])

    def crop_size(self, encoder: EncoderConfig) -> int:
        """Height and width of the images to look at, in pixels."""
        return self.input_size

    @property
    def timm_arguments(self) -> dict[str, Any]:
        """Arguments that make the same model again with `timm.create_model`."""
        # Models that take images of any size do not know the argument.
        fixed = self._published.fixed_input_size
        return {
            "model_name": self.name,
            **({"img_size": self.input_size} if fixed else {}),
            "in_chans": 1,
            "num_classes": 0,
            **self.overrides,
        }

    def encoder_facts(self, encoder: EncoderConfig) -> dict[str, Any]:
        """What a checkpoint's header says of the encoder: `timm`, `image_size`, pixels."""
        pixels = self.pixels or encoder.standardization
        return {"timm": self.timm_arguments, "image_size": self.input_size, **pixels.header()}

    @property
    def pixels(self) -> Pixels | None:
        """What pixels the weights expect; fresh ones expect none."""
        if self.pretrained is None:
            return None
        known = self._published
        return Pixels(sum(known.mean) / len(known.mean), sum(known.std) / len(known.std))

    def without_files(self) -> "TimmBackboneConfig":
        """The same model with fresh weights."""
        return self.model_copy(update={"pretrained": None})

    def build(self, encoder: EncoderConfig, seed: int) -> nn.Module:
        """Make the model, as `encoder` of a module; see `build_encoder`."""
        return nn.ModuleDict({"encoder": self.build_encoder(seed)})

    def build_encoder(self, seed: int) -> nn.Module:
        """Make the model, in evaluation mode.

        Raises:
            MiramError: There is no such file of weights, or it does not fit the model.
        """
        model = self._create(seed, {})
        if self.pretrained is None:
            return model
        weights: dict[str, Any] = {"pretrained": True}
        if self.pretrained != HUB:
            if not Path(self.pretrained).is_file():
                raise MiramError(
                    f"there are no weights at {self.pretrained}: give method.pretrained the path "
                    f"of a file, or {HUB!r} to download timm's own"
                )
            weights["pretrained_cfg_overlay"] = {"file": self.pretrained}
        loaded = self._create(seed, weights)
        # timm only warns of weights that it does not find.
        if untouched := _equal_draws(model, loaded):
            raise MiramError(
                f"the weights of {self.pretrained} do not fit {self.name}: {untouched[0]} and "
                f"{len(untouched) - 1} more would stay as they were drawn at random"
            )
        return loaded

    def _create(self, seed: int, weights: dict[str, Any]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return timm.create_model(**self.timm_arguments, **weights).eval()
            except (RuntimeError, TypeError, AssertionError) as error:
                whose = f" and the weights of {self.pretrained}" if weights else ""
                raise MiramError(
                    f"timm cannot make {self.name} with {self.timm_arguments}{whose}: {error}"
                ) from error


def _equal_draws(fresh: nn.Module, loaded: nn.Module) -> list[str]:
    """Names of weights that were drawn at random and are the same in both models."""
    found = loaded.state_dict()
    return [
        name
        for name, drawn in fresh.named_parameters()
        if drawn.ndim > 1 and drawn.min() < drawn.max() and torch.equal(drawn, found[name])
    ]
