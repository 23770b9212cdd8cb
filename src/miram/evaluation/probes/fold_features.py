"""Probes on features of encoders that saw labels: each fold is evaluated by an encoder of its own.

Under cross-validation a supervised encoder exists once per fold. Its features of all lesions
train the probe of that fold and are evaluated there; features of two encoders never meet.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.probes.linear import LinearProbeConfig, ProbeResult, fit_linear_probe
from miram.evaluation.tasks.pairs import OutOfFold, Pair, check_pairs
from miram.models.checkpoints.split_record import SPLITS, require_same_splits

WHOLE = ""  # one encoder for every fold; as in models.joined_checkpoints, which needs torch
Features = Mapping[str, npt.NDArray]
KEYS = ("lesion_id", "fold", "seed")  # columns of a table of features that are no features


def features_by_fold(table: pd.DataFrame, lesion_ids: pd.Series) -> dict[str, npt.NDArray]:
    """Take a table of features apart by encoder.

    Args:
        table: `lesion_id`, features, and `fold` if there is an encoder per fold.
        lesion_ids: (n,) the lesions wanted, in order.

    Returns:
        (n, d) features by fold; {`WHOLE`: features} for an encoder that serves all.
    """
    folds = table["fold"] if "fold" in table else pd.Series(WHOLE, index=table.index)
    values = table.drop(columns=list(KEYS), errors="ignore").set_index(table["lesion_id"])
    return {
        str(fold): values[(folds == fold).to_numpy()].loc[lesion_ids].to_numpy()
        for fold in folds.unique()
    }


def features_by_seed(
    table: pd.DataFrame, lesion_ids: pd.Series, seeds: Sequence[int] = ()
) -> dict[int, dict[str, npt.NDArray]]:
    """Take a table of features apart by training, and each by encoder.

    Args:
        table: As in `features_by_fold`, with `seed` if there are several trainings.
        lesion_ids: (n,) the lesions wanted, in order.
        seeds: The trainings wanted; all if empty. Features that no training made, which have no
            `seed`, stand for any.

    Raises:
        MiramError: There is no training with such a seed.
    """
    if "seed" not in table:
        return {0: features_by_fold(table, lesion_ids)}
    found = list(dict.fromkeys(table["seed"].tolist()))
    if missing := set(seeds) - set(found):
        raise MiramError(
            f"evaluation.seeds asks for the training with seed {min(missing)}, but there are only "
            f"those of {', '.join(map(str, found))}: train it with training.seeds"
        )
    return {
        seed: features_by_fold(table[table["seed"] == seed], lesion_ids) for seed in seeds or found
    }


def features_to_evaluate(
    table: pd.DataFrame, splits: pd.DataFrame, seeds: Sequence[int] = ()
) -> dict[int, dict[str, npt.NDArray]]:
    """Take a table of features apart as `features_by_seed`, for judging under these splits.

    Args:
        table: As in `features_by_seed`; its origin says under which splits the encoder was
            trained, if it was trained here.
        splits: (n rows) which lesion is on which side.
        seeds: The trainings wanted; all if empty.

    Raises:
        MiramError: The encoder was trained under other splits, or as `features_by_seed`.
    """
    require_same_splits(table.attrs.get("origin", {}).get(SPLITS), splits)
    return features_by_seed(table, splits["lesion_id"], seeds)


def fit_probe_by_fold(
    features: Features,
    labels: npt.NDArray,
    groups: npt.NDArray,
    pairs: Sequence[Pair],
    split: npt.NDArray,
    config: LinearProbeConfig,
) -> ProbeResult:
    """Fit a linear probe on each pair, in the features of the encoder that may evaluate it.

    Args:
        features: (n, d) features by fold, see `features_by_fold`.
        labels: (n,) or (n, K).
        groups: (n,) patients.
        pairs: Training and evaluation rows.
        split: (n,) fold of each lesion.
        config: How to fit.

    Raises:
        MiramError: A pair evaluates lesions of a fold without an encoder, or of several folds.
    """
    if set(features) == {WHOLE}:
        return fit_linear_probe(features[WHOLE], labels, groups, pairs, config)
    check_pairs(groups, pairs)
    results = [
        fit_linear_probe(
            features_evaluating(features, split[evaluation]),
            labels,
            groups,
            [(train, evaluation)],
            config,
        )
        for train, evaluation in pairs
    ]
    found = [result.predictions for result in results]
    rows = np.concatenate([part.rows for part in found])
    scores = np.concatenate([part.scores for part in found])
    pair = np.repeat(np.arange(len(found)), [len(part.rows) for part in found])
    order = np.argsort(rows)
    classifiers = tuple(one for result in results for one in result.classifiers)
    return ProbeResult(OutOfFold(rows[order], scores[order], pair[order]), classifiers)


def features_evaluating(features: Features, evaluated: npt.NDArray) -> npt.NDArray:
    """The features in which lesions may be evaluated: (n, d) of the encoder that serves their fold.

    Args:
        features: (n, d) features by fold, see `features_by_fold`.
        evaluated: Fold of each lesion to be evaluated.

    Raises:
        MiramError: The lesions are of a fold without an encoder, or of several folds.
    """
    if set(features) == {WHOLE}:
        return features[WHOLE]
    folds = sorted(set(evaluated.tolist()))
    if len(folds) != 1 or folds[0] not in features:
        raise MiramError(
            f"lesions of {', '.join(map(str, folds))} are to be evaluated, but the encoder was "
            f"trained for the folds {', '.join(features)}: the splits are newer than the "
            "encoder; run `kedro run --pipeline pretrain --namespaces supervised` again"
        )
    return features[str(folds[0])]
