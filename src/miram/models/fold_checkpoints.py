"""Several encoders in one file, one per fold of a cross-validation.

An encoder that was trained on labels may judge only patients whose labels it has not seen.
Under cross-validation that takes an encoder per fold. They travel as one checkpoint: the
weights of fold `fold0` stand under `fold0.`, and `folds` in the header names them all.
"""

from collections.abc import Mapping

from miram.errors import MiramError
from miram.models.checkpoints import EncoderCheckpoint

WHOLE = ""  # name of the one encoder that serves every fold


def join_folds(encoders: Mapping[str, EncoderCheckpoint]) -> EncoderCheckpoint:
    """Put the encoders of all folds into one checkpoint.

    Args:
        encoders: Encoder by fold, all with the same header; {`WHOLE`: encoder} stays as it is.

    Raises:
        ValueError: There is no encoder, or the headers differ.
    """
    headers = [encoder.metadata for encoder in encoders.values()]
    if not headers or any(header != headers[0] for header in headers):
        raise ValueError("the encoders of all folds need the same header")
    if set(encoders) == {WHOLE}:
        return encoders[WHOLE]
    state = {
        f"{fold}.{name}": value
        for fold, encoder in encoders.items()
        for name, value in encoder.state.items()
    }
    return EncoderCheckpoint(state, {**headers[0], "folds": list(encoders)})


def split_folds(checkpoint: EncoderCheckpoint) -> dict[str, EncoderCheckpoint]:
    """The inverse of `join_folds`: encoder by fold, {`WHOLE`: checkpoint} if there is one."""
    folds = checkpoint.metadata.get("folds")
    if folds is None:
        return {WHOLE: checkpoint}
    header = {key: value for key, value in checkpoint.metadata.items() if key != "folds"}
    return {
        fold: EncoderCheckpoint(
            {
                name.removeprefix(f"{fold}."): value
                for name, value in checkpoint.state.items()
                if name.startswith(f"{fold}.")
            },
            header,
        )
        for fold in folds
    }


def single_encoder(checkpoint: EncoderCheckpoint) -> EncoderCheckpoint:
    """The checkpoint, if it holds one encoder that serves all patients.

    Raises:
        MiramError: It holds an encoder per fold.
    """
    if "folds" in checkpoint.metadata:
        raise MiramError(
            f"this checkpoint holds {len(checkpoint.metadata['folds'])} encoders, one per fold of "
            "a cross-validation on labels: train with splits.strategy=official for a single one"
        )
    return checkpoint
