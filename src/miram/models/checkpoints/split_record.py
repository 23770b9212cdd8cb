"""Under which splits an encoder was trained: kept in its header, checked before it is evaluated.

`rois` can be run again with other splits after an encoder was trained. Test patients may
then be among those who taught it, and no file but the encoder itself can tell. The header keeps
digests, no names of patients: weights are passed on. This module needs no torch.
"""

import hashlib
from collections.abc import Iterable, Mapping

import pandas as pd

from miram.errors import MiramError
from miram.mammography.splits import split_repeats

SPLITS = "splits"  # field of an encoder's header, and of the origin of its features


def split_digest(lesion_ids: Iterable[str], split: Iterable[str]) -> str:
    """Name of a split: a hash of which lesion is in which part, whatever their order."""
    lines = sorted(f"{lesion} {part}" for lesion, part in zip(lesion_ids, split, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def split_record(splits: pd.DataFrame, *, by_part: bool) -> dict[str, str]:
    """What a header says of the splits under which an encoder is trained.

    An encoder that learns labels, or one for each fold, depends on the part of every lesion
    (`by_part`), hence the digest `sides`; any other on nothing but which lesions are kept apart
    from it, hence the digest `apart`.
    """
    if splits.empty:  # images without lesions: nobody is kept apart
        policy = {"strategy": "none", "leakage": "none"}
    else:
        policy = {name: str(splits[name].iloc[0]) for name in ("strategy", "leakage")}
    if by_part:
        # An encoder for each fold of each repeat: all of them have to be the same.
        each = zip(*(repeat["split"] for repeat in split_repeats(splits)), strict=True)
        return {**policy, "sides": split_digest(splits["lesion_id"], map(" ".join, each))}
    return {**policy, "apart": _apart(splits)}


def require_same_splits(record: Mapping[str, str] | None, splits: pd.DataFrame) -> None:
    """Refuse to evaluate an encoder on patients who may have taught it.

    An encoder that depends on the part of every lesion is evaluated under its own splits alone.
    Any other may be evaluated where the same test and dropped lesions are kept apart, or, as
    under cross-validation, none are. One without a `record` of `split_record` was not trained
    here, such as imported weights or a random encoder, and may always be evaluated.

    Raises:
        MiramError: The splits at hand are others.
    """
    if record and not _may_evaluate(record, splits):
        raise MiramError(_refusal(record, splits))


def _may_evaluate(record: Mapping[str, str], splits: pd.DataFrame) -> bool:
    if "sides" in record:
        return record["sides"] == split_record(splits, by_part=True)["sides"]
    return record["apart"] == _apart(splits) or not _kept_apart(splits).any()


def _refusal(record: Mapping[str, str], splits: pd.DataFrame) -> str:
    at_hand = split_record(splits, by_part=False)
    was, now = (f"{one['strategy']}, leakage {one['leakage']}" for one in (record, at_hand))
    differing = f"({was}) than those at hand ({now})"
    back = (
        "; or go back to its splits with `kedro run --pipeline rois --params "
        f"splits.strategy={record['strategy']},splits.leakage={record['leakage']}`"
    )
    if record["strategy"] == "none":
        back = ""
    if was == now:
        differing, back = f"than those at hand (both {now}, with other lesions in their parts)", ""
    return (
        f"the encoder was trained under other splits {differing}, so its metrics would be wrong "
        "about which patients it has seen: run `kedro run --pipeline pretrain` again, with the "
        f"parameters it was trained with, then probe{back}"
    )


def _kept_apart(splits: pd.DataFrame) -> pd.Series:
    """Lesions that no encoder may see; validation serves a training and is not evaluated."""
    return splits["split"].isin(["test", "dropped"])


def _apart(splits: pd.DataFrame) -> str:
    lesions = splits.loc[_kept_apart(splits), "lesion_id"]
    return split_digest(lesions, ["apart"] * len(lesions))
