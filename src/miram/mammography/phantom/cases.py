"""Who has which lesions: patients, splits, labels, pathology and the quirks of every row.

Nothing here draws a pixel, so that a phantom of any size can be inspected in milliseconds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import special
from sklearn.metrics import roc_auc_score

from miram.errors import MiramError
from miram.mammography.phantom.config import KINDS, QUIRKS, Kind, PhantomConfig, RatePerKind

Weights = dict[str, float]

# Words and rough shares of CBIS-DDSM; (kind, suspicious) -> weights of the first and second label.
# First: mass shape or calcification type. Second: mass margins or calcification distribution.
VOCABULARY: dict[tuple[Kind, bool], tuple[Weights, Weights]] = {
    ("mass", False): (
        {
            "OVAL": 0.38,
            "LOBULATED": 0.28,
            "ROUND": 0.18,
            "LYMPH_NODE": 0.06,
            "FOCAL_ASYMMETRIC_DENSITY": 0.05,
            "ASYMMETRIC_BREAST_TISSUE": 0.05,
        },
        {"CIRCUMSCRIBED": 0.65, "OBSCURED": 0.35},
    ),
    ("mass", True): (
        {
            "IRREGULAR": 0.55,
            "ARCHITECTURAL_DISTORTION": 0.12,
            "LOBULATED": 0.13,
            "OVAL": 0.12,
            "ROUND": 0.08,
        },
        {"SPICULATED": 0.42, "ILL_DEFINED": 0.38, "MICROLOBULATED": 0.20},
    ),
    ("calcification", False): (
        {
            "PUNCTATE": 0.22,
            "AMORPHOUS": 0.15,
            "LUCENT_CENTER": 0.23,
            "ROUND_AND_REGULAR": 0.09,
            "VASCULAR": 0.10,
            "COARSE": 0.08,
            "EGGSHELL": 0.04,
            "DYSTROPHIC": 0.03,
            "LARGE_RODLIKE": 0.02,
            "SKIN": 0.02,
            "MILK_OF_CALCIUM": 0.02,
        },
        {"CLUSTERED": 0.60, "REGIONAL": 0.25, "DIFFUSELY_SCATTERED": 0.15},
    ),
    ("calcification", True): (
        {"PLEOMORPHIC": 0.60, "FINE_LINEAR_BRANCHING": 0.22, "AMORPHOUS": 0.10, "PUNCTATE": 0.08},
        {"CLUSTERED": 0.40, "SEGMENTAL": 0.35, "LINEAR": 0.25},
    ),
}

SUSPICIOUS = frozenset(
    {"SPICULATED", "ILL_DEFINED", "MICROLOBULATED", "IRREGULAR", "ARCHITECTURAL_DISTORTION"}
    | {"PLEOMORPHIC", "FINE_LINEAR_BRANCHING", "SEGMENTAL", "LINEAR"}
)
"""Words of BI-RADS that raise suspicion: a lesion with any of them appears malignant."""

DENSITY_SHARES = (0.15, 0.385, 0.31, 0.155)
MEDIAN_SIZE = 0.068
SIZE_RANGE = (0.034, 0.150)
GRAIN = (0.015, 0.05)  # deviation of the film's noise at 1280 rows, full range 1

# Shares of assessment and subtlety as in the real CSVs; assessment 0 is a quirk of its own.
ASSESSMENTS = {
    "MALIGNANT": ((3, 4, 5), (0.07, 0.53, 0.40)),
    "BENIGN": ((2, 3, 4), (0.04, 0.24, 0.72)),
    "BENIGN_WITHOUT_CALLBACK": ((2, 3), (0.9, 0.1)),
}
SUBTLETIES = ((1, 2, 3, 4, 5), (0.05, 0.12, 0.27, 0.25, 0.31))


def pick(count: int, rate: float, rng: np.random.Generator, at_least: int = 0) -> np.ndarray:
    """Pick an exact share of an ordered list, one at random out of each of equal stretches.

    Of a list sorted by strata about the share of each stratum is picked. (count,) bool.
    """
    chosen = min(count, max(at_least, int(count * rate + 0.5)))
    flags = np.zeros(count, dtype=bool)
    if chosen:
        stretches = np.array_split(np.arange(count), chosen)
        flags[[int(rng.choice(stretch)) for stretch in stretches]] = True
    return flags


def _picked(count: int, rate: float, config: PhantomConfig, rng: np.random.Generator) -> np.ndarray:
    return pick(count, rate, rng, config.at_least(rate))


def _picked_by_kind(
    kinds: pd.Series,
    rates: Mapping[str, RatePerKind],
    config: PhantomConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Pick a share of the rows of each kind, once for every column of `rates`."""
    picked = pd.DataFrame(False, index=kinds.index, columns=list(rates))
    for kind in KINDS:
        of_kind = kinds.index[kinds == kind]
        for column, rate in rates.items():
            picked.loc[of_kind, column] = _picked(len(of_kind), rate[kind], config, rng)
    return picked


def spread(strata: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers from 0 to 1 that are evenly spread within each stratum, in random order: (n,).

    What is drawn by them has the same distribution in every stratum, not only on average.
    """
    places = strata.assign(place=rng.permutation(len(strata))).groupby(list(strata))["place"]
    within = places.rank().to_numpy() - 1 + rng.uniform(size=len(strata))
    return within / places.transform("size").to_numpy()


def _findings(config: PhantomConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the findings: the lesions of one kind in one breast, which share one disease.

    Of `mixed` findings one lesion appears different.
    """
    count = config.patients
    numbers = np.sort(rng.choice(max(2100, count * 4 // 3), size=count, replace=False)) + 1
    both = pick(count, QUIRKS.both_kinds, rng, config.at_least(QUIRKS.both_kinds, 4))
    first_kind = rng.permutation(np.arange(count) % 2)
    # Half of the patients with both kinds have them in one breast, on one image.
    same_breast = np.zeros(count, dtype=bool)
    same_breast[np.flatnonzero(both)[::2]] = True
    second = _picked(count, QUIRKS.second_breast, config, rng)
    records = []
    for patient in range(count):
        laterality, other = rng.permutation(["LEFT", "RIGHT"]).tolist()
        kind = KINDS[first_kind[patient]]
        placed = {(kind, laterality)}
        if both[patient]:
            where = laterality if same_breast[patient] else other
            placed.add((KINDS[1 - first_kind[patient]], where))
        if second[patient]:
            placed.add((kind, other))
        for found, where in sorted(placed):
            records.append(
                {
                    "patient": patient,
                    "patient_id": f"P_{numbers[patient]:05d}",
                    "laterality": where,
                    "kind": found,
                    "shares_view": bool(same_breast[patient]),
                }
            )
    findings = pd.DataFrame(records)
    rates = {"suspicious": QUIRKS.suspicious, "several": QUIRKS.several_lesions}
    findings = findings.join(_picked_by_kind(findings["kind"], rates, config, rng))
    several = findings.index[findings["several"]]
    mixed = max(
        round(QUIRKS.mixed_pathology * len(findings)), config.at_least(QUIRKS.mixed_pathology)
    )
    findings["mixed"] = False
    findings.loc[several[rng.permutation(len(several))[:mixed]], "mixed"] = True
    return findings


def _with_splits(
    findings: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Split by patient, stratified by appearance and kind, then let a few patients leak."""
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
        round(QUIRKS.leaking_patients * config.patients),
        config.at_least(QUIRKS.leaking_patients, 2),
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
    """Contradict the appearance of a share of the findings, evenly over split and kind."""
    order = findings.sort_values(["split", "suspicious", "kind"], kind="stable").index
    contradicted = pd.Series(_picked(len(order), config.label_noise, config, rng), index=order)
    findings = findings.assign(contradicted=contradicted)
    findings["without_callback"] = False
    for kind in KINDS:
        benign = findings.index[
            (findings["kind"] == kind) & (findings["suspicious"] == findings["contradicted"])
        ]
        rate = QUIRKS.without_callback[kind]
        findings.loc[benign, "without_callback"] = _picked(len(benign), rate, config, rng)
    return findings


def _with_density(
    findings: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the density of each patient's breasts, which tells nothing of split and pathology."""
    malignant = findings["suspicious"] ^ findings["contradicted"]
    patients = findings.assign(malignant=malignant).groupby("patient")
    strata = patients.agg({"split": "min", "malignant": "max", "kind": "min"})
    density = 1 + np.searchsorted(np.cumsum(DENSITY_SHARES)[:-1], spread(strata, rng))
    written = pd.Series(density, index=strata.index)
    # As in the real tables, only those with calcifications alone are written 0.
    able = strata.index[(strata["kind"] == "calcification").to_numpy()]
    able = able[(patients["kind"].nunique()[able] == 1).to_numpy()]
    written[able[_picked(len(able), QUIRKS.zero_density, config, rng)]] = 0
    return findings.assign(
        density=findings["patient"].map(dict(zip(strata.index, density, strict=True))),
        density_written=findings["patient"].map(written),
    )


def draw_cases(config: PhantomConfig) -> pd.DataFrame:
    """Draw the rows of a phantom: one per lesion and view, without its pixels.

    `first` and `second` hold the labels as drawn (shape and margins, or type and distribution),
    `first_written` and `second_written` what the CSV says; `suspicious` is the appearance,
    `pathology` the truth, `contradicted` where it is the other one; `size` is the longer edge of
    the lesion box as a share of the image height, `reach` its place between chest wall (0) and
    skin (1), `exposure` a factor on the image's brightness. The other boolean columns are the
    QUIRKS. Density, exposure, size, reach and subtlety are spread evenly over pathology, kind and
    split, so that the look of a lesion alone says what it is.
    """
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 0]))
    findings = _with_pathology(_with_splits(_findings(config, rng), config, rng), config, rng)
    findings = _with_density(findings, config, rng)
    lesions = _with_written_values(_lesions(findings, config, rng), config, rng)
    return _with_file_quirks(_rows(lesions, config, rng), config, rng)


def phantom_ceiling(config: PhantomConfig, split: str | None = None) -> float:
    """Give the best attainable AUC of malignant against benign, in one official split or in all.

    Pathology is the appearance of the lesion, contradicted in a share `label_noise` of the
    findings. Which ones is drawn without regard to anything else that shows in the pixels, so that
    no reader of these can rank lesions better than by the appearance. Its AUC is computed exactly
    on the drawn rows. On few rows a lucky score may exceed it by chance, never by skill.

    Raises:
        MiramError: The rows hold one class only.
    """
    rows = draw_cases(config)
    rows = rows if split is None else rows[rows["split"] == split]
    malignant = rows["pathology"] == "MALIGNANT"
    if malignant.nunique() < 2:
        raise MiramError(
            f"the phantom of {config.patients} patients holds one class only in its "
            f"{split or 'train and test'} rows: take more patients or another seed"
        )
    return float(roc_auc_score(malignant, rows["suspicious"]))


def _lesions(
    findings: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the lesions of each finding with their labels, sizes and pathology."""
    counts = np.where(findings["several"], np.minimum(1 + rng.geometric(0.7, len(findings)), 6), 1)
    lesions = findings.loc[findings.index.repeat(counts)].reset_index()
    lesions["number"] = lesions.groupby("index").cumcount() + 1
    lesions["suspicious"] ^= lesions["mixed"] & (lesions["number"] == 2)
    lesions["malignant"] = lesions["suspicious"] ^ lesions["contradicted"]
    strata = lesions[["split", "kind", "malignant"]]
    size = MEDIAN_SIZE * np.exp(0.35 * special.ndtri(spread(strata, rng)))
    lesions["size"] = np.clip(size, *SIZE_RANGE)
    lesions["reach"] = 0.15 + 0.65 * spread(strata, rng)
    steps = np.cumsum(SUBTLETIES[1])[:-1]
    lesions["subtlety"] = np.take(SUBTLETIES[0], np.searchsorted(steps, spread(strata, rng)))
    rates = {"first": QUIRKS.several_first_labels, "second": QUIRKS.several_second_labels}
    several = _picked_by_kind(lesions["kind"], rates, config, rng)
    drawn = zip(
        lesions["kind"], lesions["suspicious"], several["first"], several["second"], strict=True
    )
    lesions[["first", "second"]] = [_labels(*one, rng) for one in drawn]
    benign = np.where(lesions["without_callback"], "BENIGN_WITHOUT_CALLBACK", "BENIGN")
    lesions["pathology"] = np.where(lesions["malignant"], "MALIGNANT", benign)
    return lesions


def _with_written_values(
    lesions: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw what the radiologist wrote: assessment, and labels as the CSV spells them."""
    lesions = lesions.assign(
        assessment=[
            int(rng.choice(ASSESSMENTS[p][0], p=ASSESSMENTS[p][1])) for p in lesions["pathology"]
        ],
        first_written=lesions["first"],
        second_written=lesions["second"],
    )
    lucent = lesions.index[lesions["first"].str.contains("LUCENT_CENTER")]
    renamed = lucent[_picked(len(lucent), QUIRKS.lucent_centered, config, rng)]
    lesions.loc[renamed, "first_written"] = lesions.loc[renamed, "first"].str.replace(
        "LUCENT_CENTER", "LUCENT_CENTERED"
    )
    return lesions


def _rows(lesions: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Repeat each lesion for the views of its breast and add what belongs to the image."""
    breast = ["patient", "laterality"]
    breasts = lesions[breast].drop_duplicates().sort_values(breast)
    rate = QUIRKS.single_view if len(config.views) > 1 else 0.0
    single = _picked(len(breasts), rate, config, rng)
    only = rng.choice(len(config.views), size=len(breasts))
    images = pd.DataFrame(
        [
            (patient, laterality, view)
            for position, (patient, laterality) in enumerate(breasts.itertuples(index=False))
            for view in ([config.views[only[position]]] if single[position] else config.views)
        ],
        columns=["patient", "laterality", "view"],
    )
    for name in ("mirrored", "white_strips"):
        images[name] = _picked(len(images), getattr(QUIRKS, name), config, rng)
    shown = lesions.groupby(breast).agg({"split": "min", "kind": "min", "malignant": "max"})
    strata = images[breast].merge(shown, left_on=breast, right_index=True)[list(shown)]
    images["exposure"] = 0.88 + 0.24 * spread(strata, rng)
    images["grain"] = GRAIN[0] * (GRAIN[1] / GRAIN[0]) ** spread(strata, rng)
    images["aspect"] = np.clip(rng.normal(0.61, 0.07, len(images)), 0.45, 0.75)
    rows = lesions.merge(images, on=breast).drop(columns=["index", "malignant"])
    return rows.sort_values(
        ["patient", "laterality", "view", "kind", "number"], ignore_index=True, kind="stable"
    )


def _with_file_quirks(
    rows: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Mark the rows that carry each quirk of the files and of the written values."""
    for name in ("zero_assessment", "edge_lesions", "small_components"):
        rows[name] = _picked(len(rows), getattr(QUIRKS, name), config, rng)
    rows.loc[rows["zero_assessment"], "assessment"] = 0
    for name in (
        *("separate_series", "mask_mismatch", "zero_subtlety"),
        *("missing_first_label", "missing_second_label"),
    ):
        rows[name] = _picked_by_kind(rows["kind"], {name: getattr(QUIRKS, name)}, config, rng)
    rows["subtlety_written"] = rows["subtlety"].mask(rows["zero_subtlety"], 0)
    rows["first_written"] = rows["first_written"].mask(rows["missing_first_label"], "NA")
    rows["second_written"] = rows["second_written"].mask(rows["missing_second_label"], "NA")
    together = rows.index[~rows["separate_series"]]
    rows["swapped_files"] = False
    rows.loc[together, "swapped_files"] = _picked(len(together), QUIRKS.swapped_files, config, rng)
    for name in ("blank_image", "blank_crop", "blank_mask"):
        rows[name] = _picked(len(rows), QUIRKS.blank_description, config, rng)
    # A full image has one file however many lesions it holds.
    image = ["patient", "laterality", "view", "kind"]
    rows["blank_image"] = rows.groupby(image)["blank_image"].transform("max")
    return rows


def _labels(
    kind: Kind, suspicious: bool, two_first: bool, two_second: bool, rng: np.random.Generator
) -> tuple[str, str]:
    """Draw shape and margins, or type and distribution, of which each may have two words."""
    first_weights, second_weights = VOCABULARY[kind, suspicious]
    while True:
        first = _words(first_weights, 2 if two_first else 1, rng)
        second = _words(second_weights, 2 if two_second else 1, rng)
        appears_malignant = not SUSPICIOUS.isdisjoint([*first, *second])
        if appears_malignant == suspicious:
            return "-".join(first), "-".join(second)


def _words(weights: Weights, count: int, rng: np.random.Generator) -> list[str]:
    shares = np.array(list(weights.values()))
    words: list[str] = rng.choice(
        list(weights), size=count, replace=False, p=shares / shares.sum()
    ).tolist()
    return words
