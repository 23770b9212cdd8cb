"""A pretrained encoder with a linear head, trained further on labels: model and checkpoint.

Under cross-validation there is one model per fold. All travel in one checkpoint: the weights of
fold `fold0` stand under `fold0.`, and `folds` in the header names them all.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint, weights_below
from miram.models.checkpoints.joined import WHOLE
from miram.models.encoder import create_encoder, pool_tokens
from miram.models.images import plain_views
from miram.models.methods.supervised import Supervised

ABOUT = "finetuning"  # field of the header that says how the model was trained
VALIDATION_AUC = "validation_auc"  # the metric by which the epoch is chosen
_BATCH = 64  # crops that are classified at once


Reading = Literal["patches", "cls", "attentive"]
"""What a head reads: the mean of the patch tokens, CLS, or patches that it chooses itself."""

_QUERIES = 8
_NO_DROPS = {"drop_path": 0.0, "patch_drop": 0.0}  # in evaluation


class AttentiveHead(nn.Module):
    """A linear classifier of tokens that learned queries have gathered.

    Each of M queries weighs the tokens by its similarity and gathers its own part of their D
    channels; the parts stand side by side. That is a cross-attention without projections, of
    D (M + K) weights (Psomas et al., 2025, arXiv 2506.10178).

    Args:
        width: D, a multiple of M.
        classes: K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(_QUERIES, width) * width**-0.5)
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify: (B, N, D) -> (B, K)."""
        shares = (tokens @ self.queries.T * tokens.shape[-1] ** -0.5).softmax(dim=1)  # (B, N, M)
        parts = tokens.unflatten(-1, (_QUERIES, -1))  # (B, N, D) -> (B, N, M, D / M)
        return self.linear((shares.unsqueeze(-1) * parts).sum(dim=1).flatten(1))


class FineTuned(Supervised):
    """An encoder that starts from a checkpoint, and a fresh classifier.

    Loss and labels are those of `Supervised`.

    Args:
        start: The encoder; it keeps its own pixel standardization.
        pooling: What the classifier reads of a vision transformer. Other models pool in their own
            way.
        weights: (K,) of the classes.
        several: Whether a sample may have several labels.
        drop_path: Share of the residual branches that training leaves out in the last block; it
            rises linearly from 0 in the first (Huang et al., 2016).
        patch_drop: Share of the patches that each step of a training leaves out at random, so that
            it costs less (Liu et al., "PatchDropout", 2022, arXiv 2208.07220).
        seed: Of the classifier's weights.
        frozen: Whether the encoder stays as it is, and the classifier alone is trained.

    Raises:
        MiramError: The encoder knows no drop path, cannot leave patches out, or has no tokens to
            attend to.
    """

    def __init__(
        self,
        start: EncoderCheckpoint,
        pooling: Reading,
        weights: Tensor,
        *,
        several: bool,
        drop_path: float = 0.0,
        patch_drop: float = 0.0,
        seed: int = 0,
        frozen: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # the encoder is not made afresh, as Supervised would
        self.pooling, self.several = pooling, several
        self.encoder = _build(start, drop_path, patch_drop)
        self.channels, self.image_size, _ = start.input_shape
        self.pixels = start.pixels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = self._head(len(weights))
        self.encoder.requires_grad_(not frozen)
        self.frozen = frozen
        self.register_buffer("weights", weights)

    def train(self, mode: bool = True) -> Self:
        """As of any module; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def logits(self, images: Tensor) -> Tensor:
        """Classify images: (B, 1, S, S), standardized as `pixels` says -> (B, K)."""
        images = images.expand(-1, self.channels, -1, -1)
        if not isinstance(self.encoder, VisionTransformer):
            return self.head(self.encoder(images))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.encoder.forward_features(images)  # (B, P + N, D)
        if self.pooling == "attentive":
            return self.head(tokens[:, self.encoder.num_prefix_tokens :])
        return self.head(pool_tokens(self.encoder, tokens, self.pooling))

    def _head(self, classes: int) -> nn.Module:
        width = self.encoder.head_hidden_size
        if self.pooling != "attentive":
            return nn.Linear(width, classes)
        if not isinstance(self.encoder, VisionTransformer) or width % _QUERIES:
            raise MiramError(
                f"pooling: attentive needs a vision transformer whose width is a multiple of "
                f"{_QUERIES}: choose patches"
            )
        return AttentiveHead(width, classes)


def _build(start: EncoderCheckpoint, drop_path: float, patch_drop: float) -> Any:
    shares = {"drop_path_rate": drop_path, "patch_drop_rate": patch_drop}
    arguments = start.timm_arguments()
    try:
        encoder = create_encoder(arguments, **{name: x for name, x in shares.items() if x})
    except TypeError as error:
        raise MiramError(
            f"{arguments['model_name']} cannot be made with drop path or patch drop ({error}): set "
            "the recipe's drop_path and patch_drop to 0"
        ) from error
    gridded = any(getattr(module, "needs_grid", False) for module in encoder.modules())
    if patch_drop and (gridded or not isinstance(encoder, VisionTransformer)):
        raise MiramError(
            f"the attention of {arguments['model_name']} needs all patches: set the recipe's "
            "patch_drop to 0"
        )
    encoder.load_state_dict(start.state)
    return encoder


@torch.inference_mode()
def classify(
    model: FineTuned, crops: NDArray[np.uint16], rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Classify those of (N, H, H) crops at (n,) rows, without augmentation.

    Returns:
        (n, K) probabilities: of classes that exclude each other, or of every label by itself.
    """
    device = next(model.parameters()).device
    found = [torch.empty(0, len(model.weights), dtype=torch.float64)]
    for start in range(0, len(rows), _BATCH):
        part = torch.from_numpy(crops[rows[start : start + _BATCH]]).to(device)
        logits = model.logits(plain_views(part, model.image_size, model.pixels)).double().cpu()
        found.append(logits.sigmoid() if model.several else logits.softmax(dim=1))
    return torch.cat(found).numpy()


def join_models(models: Mapping[str, FineTuned], header: dict[str, Any]) -> PretrainedCheckpoint:
    """Put the models of all folds, or {`WHOLE`: model}, into one checkpoint."""
    header = {key: value for key, value in header.items() if key not in ("folds", "holds")}
    if WHOLE in models:
        return PretrainedCheckpoint.of(models[WHOLE], header)
    return PretrainedCheckpoint.of(nn.ModuleDict(models), header | {"folds": list(models)})


def split_models(checkpoint: PretrainedCheckpoint) -> dict[str, FineTuned]:
    """The inverse of `join_models`: models in evaluation mode by fold.

    Raises:
        MiramError: The checkpoint holds no fine-tuned model.
    """
    about = checkpoint.metadata.get(ABOUT)
    if about is None:
        raise MiramError(
            "the checkpoint holds no fine-tuned model: make one with "
            "`kedro run --pipeline finetune`"
        )
    identity = {**about, "encoder": checkpoint.metadata, **_NO_DROPS}
    models = {}
    for fold in checkpoint.metadata.get("folds", [WHOLE]):
        state = weights_below(checkpoint.state, fold)
        models[fold] = build_again(identity, state).eval()
    return models


def build_again(identity: Mapping[str, Any], state: Mapping[str, Tensor]) -> FineTuned:
    """Make the model of a training from its identity and its weights."""
    start = EncoderCheckpoint(weights_below(state, "encoder"), identity["encoder"])
    pooling, several = identity["pooling"], identity["kind"] == "multi"
    model = FineTuned(
        start,
        pooling,
        state["weights"],
        several=several,
        drop_path=identity["drop_path"],
        patch_drop=identity.get("patch_drop", 0.0),
        frozen=identity.get("frozen", False),
    )
    model.load_state_dict(state)
    return model
