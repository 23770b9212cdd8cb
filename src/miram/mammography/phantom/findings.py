"""Who has which findings, in which split, and how often a finding contradicts its look.

A finding is what the lesions of one kind in one breast share: one look, one disease.
"""

import numpy as np
import pandas as pd

from miram.mammography.phantom.config import KINDS, PhantomConfig

DENSITY_SHARES = (0.15, 0.385, 0.31, 0.155)


def draw_findings(config: PhantomConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the findings of all patients.

    Args:
        config: Size, noise and rates.
        rng: Source of randomness.

    Returns:
        One row per patient, breast and kind: `suspicious` is the look, `contradicted` whether
        the pathology is the other one, `split` the official split, `several` whether there is
        more than one lesion and `mixed` whether one of them looks different.
    """
    return _with_pathology(_with_splits(_findings(config, rng), config, rng), config, rng)


def pick(count: int, rate: float, rng: np.random.Generator, at_least: int = 0) -> np.ndarray:
    """Pick a share of an ordered list, one at random out of each of equally long stretches.

    The number picked is exact, and where the list is sorted by some strata the share is kept
    within each stratum as far as whole numbers allow.

    Args:
        count: Length of the list.
        rate: Share to pick.
        rng: Source of randomness.
        at_least: Smallest number to pick, as far as the list is that long.

    Returns:
        Boolean array of shape (count,).
    """
    chosen = min(count, max(at_least, int(count * rate + 0.5)))
    flags = np.zeros(count, dtype=bool)
    if chosen:
        stretches = np.array_split(np.arange(count), chosen)
        flags[[int(rng.choice(stretch)) for stretch in stretches]] = True
    return flags


def _findings(config: PhantomConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the findings: the lesions of one kind in one breast, which share one disease."""
    quirks, count = config.quirks, config.patients
    numbers = np.sort(rng.choice(max(2100, count * 4 // 3), size=count, replace=False)) + 1
    both = pick(count, config.both_kinds_share, rng, config.at_least(config.both_kinds_share, 4))
    first_kind = rng.permutation(np.arange(count) % 2)
    # Half of the patients with both kinds have them in one breast, on one image.
    same_breast = np.zeros(count, dtype=bool)
    same_breast[np.flatnonzero(both)[::2]] = True
    second = pick(count, quirks.second_breast, rng, config.at_least(quirks.second_breast))
    density = rng.choice([1, 2, 3, 4], size=count, p=DENSITY_SHARES)
    only_calcifications = np.flatnonzero((first_kind == 1) & ~both)  # as in the real tables
    zero = np.zeros(count, dtype=bool)
    zero[only_calcifications] = pick(
        len(only_calcifications), quirks.zero_density, rng, config.at_least(quirks.zero_density)
    )
    records = []
    for patient in range(count):
        side, other = rng.permutation(["LEFT", "RIGHT"]).tolist()
        kind = KINDS[first_kind[patient]]
        placed = {(kind, side)}
        if both[patient]:
            placed.add((KINDS[1 - first_kind[patient]], side if same_breast[patient] else other))
        if second[patient]:
            placed.add((kind, other))
        for found, where in sorted(placed):
            records.append(
                {
                    "patient": patient,
                    "patient_id": f"P_{numbers[patient]:05d}",
                    "side": where,
                    "kind": found,
                    "density": int(density[patient]),
                    "density_written": 0 if zero[patient] else int(density[patient]),
                    "shares_view": bool(same_breast[patient]),
                }
            )
    findings = pd.DataFrame(records)
    for kind in KINDS:
        of_kind = findings.index[findings["kind"] == kind]
        for name, rates in {
            "suspicious": config.suspicious_share,
            "several": quirks.several_lesions,
        }.items():
            rate = rates.of(kind)
            findings.loc[of_kind, name] = pick(len(of_kind), rate, rng, config.at_least(rate))
    several = findings.index[findings["several"].astype(bool)]
    mixed = max(
        round(quirks.mixed_pathology * len(findings)), config.at_least(quirks.mixed_pathology)
    )
    findings["mixed"] = False
    findings.loc[several[rng.permutation(len(several))[:mixed]], "mixed"] = True
    return findings.astype({"suspicious": bool, "several": bool})


def _with_splits(
    findings: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Split by patient, stratified by look and kind, then let a few patients leak."""
    patients = (
        findings.groupby("patient")
        .agg(
            suspicious=("suspicious", "max"),
            kinds=("kind", lambda kinds: "+".join(sorted(set(kinds)))),
            shares_view=("shares_view", "first"),
        )
        .sort_values(["suspicious", "kinds"], kind="stable")
    )
    smallest = min(2, config.patients - 1) if config.test_share else 0
    in_test = pick(len(patients), config.test_share, rng, smallest)
    is_test = pd.Series(in_test, index=patients.index)
    leaks = max(
        round(config.quirks.leaking_patients * config.patients),
        config.at_least(config.quirks.leaking_patients, 2),
    )
    able = patients[patients["kinds"].str.contains("+", regex=False)]
    able = able.sample(frac=1, random_state=rng).sort_values(
        "shares_view", ascending=False, kind="stable"
    )
    leaking = findings["patient"].isin(able.index[:leaks])
    # The official splits were made for each kind alone: a patient of both can be on both sides.
    test = findings["patient"].map(is_test) ^ (leaking & (findings["kind"] == "calcification"))
    return findings.assign(split=np.where(test, "test", "train"))


def _with_pathology(
    findings: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Contradict the look of a share of the findings, evenly over split, look and kind."""
    order = findings.sort_values(["split", "suspicious", "kind"], kind="stable").index
    contradicted = pd.Series(
        pick(len(order), config.label_noise, rng, config.at_least(config.label_noise)), index=order
    )
    findings = findings.assign(contradicted=contradicted)
    findings["without_callback"] = False
    for kind in KINDS:
        benign = findings.index[
            (findings["kind"] == kind) & (findings["suspicious"] == findings["contradicted"])
        ]
        rate = config.quirks.without_callback.of(kind)
        findings.loc[benign, "without_callback"] = pick(
            len(benign), rate, rng, config.at_least(rate)
        )
    return findings
