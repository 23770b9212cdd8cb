"""Who has which lesions: patients, splits, labels, pathology and the quirks of every row.

Nothing here draws a pixel, so that a phantom of any size can be inspected in milliseconds.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from miram.errors import MiramError
from miram.mammography.phantom.config import KINDS, PhantomConfig
from miram.mammography.phantom.findings import draw_findings, pick
from miram.mammography.phantom.labels import draw_labels

MEDIAN_SIZE = 0.068
SIZE_RANGE = (0.034, 0.150)

# Shares of assessment and subtlety as in the real CSVs; assessment 0 is a quirk of its own.
ASSESSMENTS = {
    "MALIGNANT": ((3, 4, 5), (0.07, 0.53, 0.40)),
    "BENIGN": ((2, 3, 4), (0.04, 0.24, 0.72)),
    "BENIGN_WITHOUT_CALLBACK": ((2, 3), (0.9, 0.1)),
}
SUBTLETIES = ((1, 2, 3, 4, 5), (0.05, 0.12, 0.27, 0.25, 0.31))


def draw_cases(config: PhantomConfig) -> pd.DataFrame:
    """Draw the rows of a phantom: one per lesion and view, without its pixels.

    Args:
        config: Size, seed, noise and rates.

    Returns:
        Rows ordered by patient, side, view, kind and abnormality number. `first` and `second`
        hold the labels as drawn (shape and margins, or type and distribution), `first_written`
        and `second_written` what the CSV says; `suspicious` is the look, `pathology` the truth;
        `size` is the longer side of the lesion box as a share of the image height, `reach` its
        place between chest wall (0) and skin (1); the boolean columns are the quirks.
    """
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 0]))
    findings = draw_findings(config, rng)
    lesions = _with_written_values(_lesions(findings, config, rng), config, rng)
    return _with_file_quirks(_rows(lesions, config, rng), config, rng)


def phantom_ceiling(config: PhantomConfig, split: str | None = None) -> float:
    """Give the best attainable AUC of malignant against benign on a phantom.

    Pathology is the look of the lesion (suspicious or not, a fixed function of its labels),
    contradicted in a share `label_noise` of the findings. Which ones is drawn without regard
    to anything that shows in the pixels but that look, so that no reader of the pixels can
    rank lesions better than by the look itself. Its AUC is computed exactly on the drawn rows
    (ties count one half). On few rows a lucky score may pass it by chance, never by skill.

    Args:
        config: The phantom.
        split: `train`, `test` or None for all rows.

    Returns:
        The area under the ROC curve, 0.5 to 1.

    Raises:
        MiramError: If the rows hold one class only.
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
    """Draw the lesions of each finding with their looks, sizes and pathology."""
    counts = np.where(findings["several"], np.minimum(1 + rng.geometric(0.7, len(findings)), 6), 1)
    lesions = findings.loc[findings.index.repeat(counts)].reset_index()
    lesions["number"] = lesions.groupby("index").cumcount() + 1
    lesions["suspicious"] ^= lesions["mixed"] & (lesions["number"] == 2)
    size = MEDIAN_SIZE * np.exp(0.35 * rng.standard_normal(len(lesions)))
    lesions["size"] = np.clip(size, *SIZE_RANGE)
    lesions["reach"] = rng.uniform(0.15, 0.8, len(lesions))
    lesions["subtlety"] = rng.choice(SUBTLETIES[0], size=len(lesions), p=SUBTLETIES[1])
    several = np.zeros((len(lesions), 2), dtype=bool)
    for kind in KINDS:
        of_kind = np.flatnonzero(lesions["kind"] == kind)
        for column, rates in enumerate(
            (config.quirks.several_first_labels, config.quirks.several_second_labels)
        ):
            rate = rates.of(kind)
            several[of_kind, column] = pick(len(of_kind), rate, rng, config.at_least(rate))
    labels = [
        draw_labels(kind, suspicious, (bool(two[0]), bool(two[1])), rng)
        for kind, suspicious, two in zip(
            lesions["kind"], lesions["suspicious"], several, strict=True
        )
    ]
    lesions[["first", "second"]] = labels
    malignant = lesions["suspicious"] ^ lesions["contradicted"]
    benign = np.where(lesions["without_callback"], "BENIGN_WITHOUT_CALLBACK", "BENIGN")
    lesions["pathology"] = np.where(malignant, "MALIGNANT", benign)
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
    rate = config.quirks.lucent_centered
    renamed = lucent[pick(len(lucent), rate, rng, config.at_least(rate))]
    lesions.loc[renamed, "first_written"] = lesions.loc[renamed, "first"].str.replace(
        "LUCENT_CENTER", "LUCENT_CENTERED"
    )
    return lesions


def _rows(lesions: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Repeat each lesion for the views of its breast and add what belongs to the image."""
    breasts = lesions[["patient", "side"]].drop_duplicates().sort_values(["patient", "side"])
    rate = config.quirks.single_view if len(config.views) > 1 else 0.0
    single = pick(len(breasts), rate, rng, config.at_least(rate))
    only = rng.choice(len(config.views), size=len(breasts))
    images = pd.DataFrame(
        [
            (patient, side, view)
            for position, (patient, side) in enumerate(breasts.itertuples(index=False))
            for view in ([config.views[only[position]]] if single[position] else config.views)
        ],
        columns=["patient", "side", "view"],
    )
    for name in ("wrong_side", "white_strips"):
        rate = getattr(config.quirks, name)
        images[name] = pick(len(images), rate, rng, config.at_least(rate))
    images["aspect"] = np.clip(rng.normal(0.61, 0.07, len(images)), 0.45, 0.75)
    rows = lesions.merge(images, on=["patient", "side"]).drop(columns=["index"])
    return rows.sort_values(
        ["patient", "side", "view", "kind", "number"], ignore_index=True, kind="stable"
    )


def _with_file_quirks(
    rows: pd.DataFrame, config: PhantomConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Mark the rows that carry each quirk of the files and of the written values."""
    quirks = config.quirks
    for name in ("zero_assessment", "edge_lesions", "mask_crumbs"):
        rate = getattr(quirks, name)
        rows[name] = pick(len(rows), rate, rng, config.at_least(rate))
    rows.loc[rows["zero_assessment"], "assessment"] = 0
    for name in (
        *("separate_series", "mask_mismatch", "zero_subtlety"),
        *("missing_first_label", "missing_second_label"),
    ):
        rows[name] = False
        for kind in KINDS:
            of_kind = rows.index[rows["kind"] == kind]
            rate = getattr(quirks, name).of(kind)
            rows.loc[of_kind, name] = pick(len(of_kind), rate, rng, config.at_least(rate))
    rows["subtlety_written"] = rows["subtlety"].mask(rows["zero_subtlety"], 0)
    rows["first_written"] = rows["first_written"].mask(rows["missing_first_label"], "NA")
    rows["second_written"] = rows["second_written"].mask(rows["missing_second_label"], "NA")
    together = rows.index[~rows["separate_series"]]
    rows["swapped_files"] = False
    rows.loc[together, "swapped_files"] = pick(
        len(together), quirks.swapped_files, rng, config.at_least(quirks.swapped_files)
    )
    for name in ("blank_image", "blank_crop", "blank_mask"):
        rate = quirks.blank_description
        rows[name] = pick(len(rows), rate, rng, config.at_least(rate))
    # A full image has one file however many lesions it holds.
    image = ["patient", "side", "view", "kind"]
    rows["blank_image"] = rows.groupby(image)["blank_image"].transform("max")
    return rows
