"""One method, one encoder: build, train, and show what it learned."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from miram.mammography.crops.store import CropStore
from miram.mammography.splits import pretraining_crops, split_repeats, validation_crops
from miram.models.checkpoints.files import Checkpoint, EncoderCheckpoint, PretrainedCheckpoint
from miram.models.checkpoints.joined import join_folds
from miram.models.checkpoints.split_record import SPLITS, split_record
from miram.models.encoder import EncoderConfig
from miram.models.fidelity import fidelity
from miram.models.images import plain_views, to_unit
from miram.models.methods.config import MethodConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoder
from miram.models.pretrained_weights.load import initialize_from
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.config import TrainingConfig, recipe_of
from miram.training.folds import train_folds
from miram.training.logging.history import Facts, Trained, facts_of
from miram.training.logging.telemetry import ValidationCallback
from miram.training.loop import train

log = logging.getLogger(__name__)

Checkpointed = TypeVar("Checkpointed", bound=Checkpoint)

EXAMPLES = 6  # crops whose reconstruction is shown
SCORED = 512  # crops at most whose reconstruction is compared with the target, evenly spaced
_BATCH = 64
HISTORY = ("step", "epoch", "loss", "lr", "gradient_norm", "images_per_second")
LICENSE_NOTE = "weights derived from the training data named in data_digest; its terms apply"


@dataclass(frozen=True)
class PretrainingResult:
    """What a method leaves behind."""

    encoder: EncoderCheckpoint
    pretrained: PretrainedCheckpoint  # all weights of the method, decoders included
    history: pd.DataFrame  # with the columns `HISTORY`; empty for a method that does not train
    # See `reconstruct_examples` and `score_reconstructions`; empty without decoders.
    reconstructions: dict[str, NDArray] = field(default_factory=dict)
    fidelity: pd.DataFrame = field(default_factory=pd.DataFrame)


def pretrain(
    store: CropStore,
    rows: NDArray[np.int64],
    encoder: EncoderConfig,
    method: MethodConfig,
    training: TrainingConfig,
    *,
    folder: TrainingFolder | None = None,
    validate: ValidationCallback | None = None,
    splits: pd.DataFrame | None = None,
) -> PretrainingResult:
    """Train one encoder without labels.

    Args:
        store: The crop store.
        rows: Positions of the crops that may be seen.
        encoder: Its configuration.
        method: How it is trained.
        training: The budget that all methods share.
        folder: Where the training keeps its state to resume from; None keeps nothing.
        validate: Called with the model now and then, see `train`.
        splits: Those that `rows` follow from; the header names them, so that the encoder is not
            evaluated under others.

    Raises:
        MiramError: The checkpoint to start from does not fit, or as `train`.
    """
    recipe = recipe_of(method, training)
    encoder = encoder.settled(store.crops, rows)
    model: Any = method.build(encoder, recipe.seed)
    if not method.trained:
        metadata = header(store, encoder, method, facts_of(recipe))
        return PretrainingResult(*_weights(model, metadata), pd.DataFrame(columns=list(HISTORY)))
    start = initialize_from(model, recipe.initialization)
    log.info("training on %d crops for %d epochs", len(rows), recipe.epochs)
    image_size = method.crop_size(encoder)
    about = identity(store, rows, encoder, method, start.sha256)
    trained = train(
        model,
        store.crops,
        image_size,
        recipe,
        rows=rows,
        lesion=store.masks[rows],
        checkpoints=Checkpoints(folder, about) if folder else None,
        validate=validate,
    )
    metadata = header(store, encoder, method, trained.facts, splits)
    metadata |= {"initialization": start.header()}
    if start.source:
        metadata["license"] += f"; so do those of the weights it starts from, {start.source}"
    if not isinstance(model, MaskedAutoencoder):
        return PretrainingResult(*_weights(model, metadata), trained.history)
    examples = spread(rows, EXAMPLES)
    shown = reconstruct_examples(
        model, store.crops[examples], store.masks[examples], image_size, recipe.seed
    )
    kept = rows[:0] if splits is None else validation_crops(store.manifest, splits)
    asked, part = (kept, "val") if len(kept) else (rows, "train")
    scores = score_reconstructions(model, store, asked, image_size, recipe.seed)
    scores.insert(2, "part", part)
    return PretrainingResult(*_weights(model, metadata), trained.history, shown, scores)


def pretrain_by_fold(
    store: CropStore,
    splits: pd.DataFrame,
    encoder: EncoderConfig,
    method: MethodConfig,
    training: TrainingConfig,
    *,
    folder: TrainingFolder | None = None,
    validation: Callable[[NDArray[np.int64]], ValidationCallback] | None = None,
) -> PretrainingResult:
    """Train one encoder per fold and repeat of a cross-validation, without labels.

    The encoder of a fold has seen no image of the fold's patients; its features alone serve to
    evaluate their lesions. With `pixels: data` all have the mean and deviation of all crops.

    Args:
        store: The crop store.
        splits: One row per lesion, with `lesion_id`, `patient_id`, `strategy`, `leakage` and
            `split`.
        encoder: Its configuration.
        method: How each is trained.
        training: The budget of each training.
        folder: Where each training keeps its state; None keeps nothing.
        validation: Gives the callback of a training from the positions of its crops.

    Returns:
        The checkpoints of all folds, see `miram.models.checkpoints.joined`; the history with
        `fold`, whose steps are counted on from fold to fold; the reconstructions of the first.

    Raises:
        MiramError: As `pretrain`.
    """
    manifest = store.manifest
    rows = {
        fold: pretraining_crops(manifest, repeat.assign(pretrain=repeat["split"] != fold))
        for repeat in split_repeats(splits)
        for fold in sorted(set(repeat["split"]))
    }
    encoder = encoder.settled(store.crops, pretraining_crops(manifest, splits))

    def train_fold(
        fold: str, seen: NDArray[np.int64], part: TrainingFolder | None
    ) -> tuple[PretrainingResult, Trained]:
        log.info("%s is held out: none of its patients is shown", fold)
        validate = validation(seen) if validation else None
        found = pretrain(store, seen, encoder, method, training, folder=part, validate=validate)
        return found, Trained(found.history, found.encoder.metadata)

    results, about, history = train_folds(rows, folder, train_fold)
    about = {key: value for key, value in about.items() if key != "holds"}
    about[SPLITS] = split_record(splits, by_part=True)

    def joined(parts: dict[str, Checkpointed]) -> Checkpointed:
        return join_folds(
            {
                fold: type(one)(one.state, {"holds": one.holds, **about})
                for fold, one in parts.items()
            }
        )

    first = next(iter(results.values()))
    return PretrainingResult(
        joined({fold: result.encoder for fold, result in results.items()}),
        joined({fold: result.pretrained for fold, result in results.items()}),
        history,
        first.reconstructions,
        first.fidelity,
    )


def _weights(
    model: Any, metadata: dict[str, Any]
) -> tuple[EncoderCheckpoint, PretrainedCheckpoint]:
    return EncoderCheckpoint.of(model.encoder, metadata), PretrainedCheckpoint.of(model, metadata)


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """So many of the rows, from all over them."""
    return rows[:: max(1, len(rows) // count)][:count]


def identity(
    store: CropStore,
    rows: NDArray[np.int64],
    encoder: EncoderConfig,
    method: BaseModel,
    start: str,
) -> dict[str, Any]:
    """Whatever besides the budget the trained weights depend on.

    `start` is the digest of the weights to start from, empty for fresh ones.
    """
    return {
        "encoder": encoder.model_dump(mode="json"),
        "method": method.model_dump(mode="json"),
        "data_digest": store.digest,
        "crops": hashlib.sha256(np.asarray(rows, np.int64).tobytes()).hexdigest(),
        "start": start,
    }


def header(
    store: CropStore,
    encoder: EncoderConfig,
    method: MethodConfig,
    facts: Facts,
    splits: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """What a checkpoint's header says of the encoder and what it came from."""
    made = {
        **method.encoder_facts(encoder),
        "method": method.model_dump(mode="json"),
        **facts,
        "data_digest": store.digest,
        "license": LICENSE_NOTE,
    }
    if splits is not None:
        made[SPLITS] = split_record(splits, by_part=method.needs_labels)
    return made


def reconstruct_examples(
    model: MaskedAutoencoder,
    crops: NDArray[np.uint16],
    coverage: NDArray[np.uint8],
    image_size: int,
    seed: int,
) -> dict[str, NDArray[np.uint8]]:
    """Reconstruct crops, (n, H, H) with (n, h, h) coverage, at every scale in true grey levels.

    `image_size` is that of the images the model takes, in pixels, `seed` that of the masks.

    Returns:
        `scale<s>_target`, `scale<s>_masked`, `scale<s>_prediction`: (n, s*S, s*S) uint8.
    """
    device = next(model.parameters()).device
    grey_crops = torch.from_numpy(np.array(crops))
    mean, deviation = model.pixels.of(to_unit(grey_crops).to(device))
    images = plain_views(grey_crops, image_size, model.pixels).to(device)
    lesion = torch.from_numpy(np.array(coverage)).to(device)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(images), model.noise_width, generator=generator).to(device)
    shown = {}
    for item in model.eval().reconstruct(images, noise, lesion):
        for name in ("target", "masked", "prediction"):
            grey = (getattr(item, name) * deviation + mean).clamp(0, 1).squeeze(1)
            shown[f"scale{item.scale}_{name}"] = (grey * 255).round().byte().cpu().numpy()
    return shown


def score_reconstructions(
    model: MaskedAutoencoder, store: CropStore, rows: NDArray[np.int64], image_size: int, seed: int
) -> pd.DataFrame:
    """Compare reconstructions of crops with their targets, on the hidden patches.

    Args:
        model: The trained model.
        store: The crop store.
        rows: Positions of the crops; of more than `SCORED`, as many are taken, evenly spaced.
        image_size: Of the images the model takes, in pixels.
        seed: Of the masks.

    Returns:
        One row per crop and scale: `crop_id`, `patient_id`, `scale`, `psnr` in dB, and `ssim`.
    """
    rows = rows[:: -(-len(rows) // SCORED)]
    manifest = store.manifest[["crop_id", "patient_id"]]
    found = []
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        arrays = reconstruct_examples(
            model, store.crops[some], store.masks[some], image_size, seed + start
        )
        for scale in sorted({decoder.scale for decoder in model.config.decoders}):
            scores = fidelity(arrays, scale, model.encoder_config.grid_side)
            found.append(
                manifest.iloc[some].assign(scale=scale, psnr=scores[:, 0], ssim=scores[:, 1])
            )
    return pd.concat(found, ignore_index=True).dropna()
