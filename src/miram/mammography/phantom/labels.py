"""The vocabulary of the lesions and the rule that ties their look to their pathology."""

import numpy as np

from miram.mammography.phantom.config import Kind

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
"""Words of BI-RADS that raise suspicion: a lesion with any of them looks malignant."""


def is_suspicious(*labels: str) -> bool:
    """Say whether a lesion with these labels, each possibly hyphen-joined, looks malignant."""
    return any(word in SUSPICIOUS for label in labels for word in label.split("-"))


def draw_labels(
    kind: Kind, suspicious: bool, several: tuple[bool, bool], rng: np.random.Generator
) -> tuple[str, str]:
    """Draw the two labels of one lesion.

    Args:
        kind: Mass or calcification.
        suspicious: How the lesion shall look, see `is_suspicious`.
        several: Whether the first and the second label hold two words.
        rng: Source of randomness.

    Returns:
        Shape and margins of a mass, or type and distribution of a calcification, the words
        of each joined by hyphens.
    """
    tables = VOCABULARY[kind, suspicious]
    while True:
        first, second = (
            _words(table, 2 if two else 1, rng) for table, two in zip(tables, several, strict=True)
        )
        if is_suspicious(first, second) == suspicious:
            return first, second


def _words(weights: Weights, count: int, rng: np.random.Generator) -> str:
    shares = np.array(list(weights.values()))
    return "-".join(
        rng.choice(list(weights), size=count, replace=False, p=shares / shares.sum()).tolist()
    )
