"""Several encoders of one method in one file: one per seed, one per fold, or both.

An encoder trained on labels may be evaluated only on patients whose labels it has not seen, and one
of `training.hold_out_folds` on patients whose images it has not seen. Under cross-validation that
takes an encoder per fold; and a method whose spread is to be known is trained
with several seeds. They travel as one checkpoint: the weights of fold `fold0` stand under `fold0.`,
those of seed 1 under `seed1.`, and `folds` and `seeds` in the header name them all.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from miram.errors import MiramError
from miram.models.checkpoints.files import Checkpoint, EncoderCheckpoint, weights_below

WHOLE = ""  # name of the one encoder that serves every fold

Some = TypeVar("Some", bound=Checkpoint)


def join_folds(checkpoints: Mapping[str, Some]) -> Some:
    """Put the checkpoints of all folds, by fold, into one.

    All have the same header; {`WHOLE`: checkpoint} stays as it is.
    """
    headers = [one.metadata for one in checkpoints.values()]
    if not headers or any(header != headers[0] for header in headers):
        raise ValueError("the checkpoints of all folds need the same header")
    if set(checkpoints) == {WHOLE}:
        return checkpoints[WHOLE]
    kind = type(next(iter(checkpoints.values())))
    return kind(_prefixed(checkpoints), {**headers[0], "folds": list(checkpoints)})


def split_folds(checkpoint: Some) -> dict[str, Some]:
    """The inverse of `join_folds`: checkpoint by fold, {`WHOLE`: checkpoint} if there is one.

    Raises:
        ValueError: It holds several seeds; `split_seeds` and `first_seed` take these apart.
    """
    if "seeds" in checkpoint.metadata:
        raise ValueError("the checkpoint holds several seeds: take them apart by split_seeds first")
    folds = checkpoint.metadata.get("folds")
    if folds is None:
        return {WHOLE: checkpoint}
    header = {key: value for key, value in checkpoint.metadata.items() if key != "folds"}
    return {fold: type(checkpoint)(weights_below(checkpoint.state, fold), header) for fold in folds}


def join_seeds(checkpoints: Mapping[int, Some]) -> Some:
    """Put the checkpoints of all seeds, by seed, into one; a single one stays as it is."""
    first, *others = checkpoints.values()
    if not others:
        return first
    # Read as a whole the header is that of the first.
    own = {str(seed): one.metadata for seed, one in checkpoints.items()}
    named = {f"seed{seed}": one for seed, one in checkpoints.items()}
    return type(first)(_prefixed(named), {**first.metadata, "seeds": own})


def split_seeds(checkpoint: Some) -> dict[int, Some]:
    """The inverse of `join_seeds`: checkpoint by the seed of its training."""
    own: dict[str, dict[str, Any]] | None = checkpoint.metadata.get("seeds")
    if own is None:
        return {int(checkpoint.metadata.get("training", {}).get("seed", 0)): checkpoint}
    return {
        int(seed): type(checkpoint)(weights_below(checkpoint.state, f"seed{seed}"), header)
        for seed, header in own.items()
    }


def first_seed(checkpoint: Some) -> Some:
    """The checkpoint of the first seed: what is used where one model is wanted.

    It is the first that was asked for and not the one that did best, which would be a choice by
    the metrics that are reported.
    """
    return next(iter(split_seeds(checkpoint).values()))


def single_encoder(checkpoint: EncoderCheckpoint) -> EncoderCheckpoint:
    """The encoder of the first seed, if it is one that serves all patients.

    Raises:
        MiramError: It holds an encoder per fold.
    """
    if "folds" in checkpoint.metadata:
        raise MiramError(
            f"this checkpoint holds {len(checkpoint.metadata['folds'])} encoders, one per fold of "
            "a cross-validation: train with training.hold_out_folds=false, or a method that learns "
            "labels with splits.strategy=official, for a single one"
        )
    return first_seed(checkpoint)


def _prefixed(parts: Mapping[str, Checkpoint]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value for name, part in parts.items() for key, value in part.state.items()
    }
