"""What an encoder sees as similar: the nearest neighbors of a few lesions in feature space.

The lesions are chosen by a rule: those that the linear probe classified most confidently, rightly
and wrongly. Neighbors come from the lesions that this probe was trained on, and never from the
same patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from miram.evaluation.predictions import evaluated_lesions, task_scores
from miram.evaluation.probes.scoring import Features, features_by_seed, features_evaluating
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.pairs import evaluation_pairs
from miram.evaluation.tasks.targets import TaskTargets, targets_of
from miram.reporting.charts.images import lesion_tile
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section

Array = npt.NDArray[np.float64]

CHOSEN = 2  # lesions classified rightly, and as many wrongly
NEIGHBORS = 5


class Neighbors(Section):
    """Neighbors for the first task asked, in the features of its best trained method."""

    title = "Nearest neighbors"
    template = "neighbors.html"

    def applies(self, study: Study) -> bool:
        """Whether a task was evaluated, a method trained, and its features kept."""
        finding = next(iter(study_findings(study)), None)
        best = finding.trained if finding else None
        return best is not None and not study.methods[best.method].features.empty

    def data(self, study: Study) -> dict[str, Any]:
        """Lesions with their neighbors and pictures."""
        finding = study_findings(study)[0]
        assert finding.trained is not None
        method = finding.trained.method
        chosen = neighborhoods(study, method, finding.task)
        names = {
            name for item in chosen for name in (item.lesion, *(n.lesion for n in item.neighbors))
        }
        tiles = {name: lesion_tile(study.crops, name) for name in sorted(names)}
        return {
            "method": method,
            "chosen": chosen,
            "tiles": tiles,
            "line": f"{len(chosen)} lesions beside the ones that {method} sees as most similar",
        }


@dataclass(frozen=True)
class Neighbor:
    """A lesion near another one, and the cosine of the angle between the features of the two."""

    lesion: str
    label: str
    cosine: float


@dataclass(frozen=True)
class Neighborhood:
    """A lesion with its nearest neighbors, the nearest first.

    Attributes:
        label: Its class, or its labels, in words.
        answer: The class predicted by the probe.
        right: Whether that is the label.
        confidence: Probability of the answer; of several labels their mean.
        lesions: Lesions among which neighbors were searched.
        patients: Patients of these.
    """

    lesion: str
    label: str
    answer: str
    right: bool
    confidence: float
    neighbors: tuple[Neighbor, ...]
    lesions: int
    patients: int


def neighborhoods(study: Study, method: str, task: str) -> list[Neighborhood]:
    """The nearest neighbors of the lesions that a method's probe classified most confidently.

    Of several seeds it is the first that was evaluated.

    Returns:
        Lesions classified rightly, then wrongly, the most confident first, at most one per patient
        in each.
    """
    result, config = study.methods[method], study.assessment
    targets = targets_of(study.lesions, study.splits, config.task(task), config.without_callback)
    splits = study.splits.iloc[targets.rows].reset_index(drop=True)
    seeds = result.metrics.get("seeds", ())[:1]
    (features,) = features_by_seed(result.features, splits["lesion_id"], seeds).values()
    found = task_scores(result.predictions, task)
    answered, confidence = answers(found.seeds.each[0], targets.kind)
    labels, _ = found.of_kind(targets.kind)
    right = (answered == labels).reshape(len(labels), -1).all(axis=1)
    names = evaluated_lesions(result.predictions, task)
    place = pd.Index(splits["lesion_id"])
    return [
        Neighborhood(
            lesion=names[row],
            label=_word(labels[row], targets),
            answer=_word(answered[row], targets),
            right=bool(right[row]),
            confidence=float(confidence[row]),
            **_nearest_lesions(features, splits, targets, int(place.get_loc(names[row]))),
        )
        for row in most_confident(right, confidence, found.patients)
    ]


def answers(scores: Array, kind: Kind) -> tuple[npt.NDArray[np.int64], Array]:
    """What a probe answers, and how confident it is.

    Args:
        scores: (n, K) probabilities; K is 1 for a binary task.
        kind: `binary`, `single` or `multi`.

    Returns:
        Answers in the shape of `TaskTargets.labels`; and (n,) their probabilities, with several
        labels the mean.
    """
    if kind == "single":
        return scores.argmax(axis=1), scores.max(axis=1)
    answered = (scores > 0.5).astype(np.int64)
    confidence = np.maximum(scores, 1 - scores).mean(axis=1)
    return (answered[:, 0] if kind == "binary" else answered), confidence


def most_confident(
    right: npt.NDArray[np.bool_], confidence: Array, patients: npt.NDArray
) -> list[int]:
    """The rows answered most confidently: up to `CHOSEN` right ones, then as many wrong ones.

    Args:
        right: (n,) whether the answer is right.
        confidence: (n,) its probability; of equal ones the first row comes first.
        patients: (n,) patient of each row; each is taken once per group.
    """
    found: list[int] = []
    for group in (right, ~right):
        rows = np.flatnonzero(group)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        once = pd.Series(patients[rows]).drop_duplicates().index
        found += rows[once][:CHOSEN].tolist()
    return found


def nearest(
    features: npt.NDArray, rows: npt.NDArray[np.intp], row: int
) -> tuple[npt.NDArray[np.intp], Array]:
    """The `NEIGHBORS` of (m,) rows that are nearest to another row, and the cosines.

    The nearest is first, by the cosine of their (n, d) features.
    """
    search = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(rows)), metric="cosine")
    distances, places = search.fit(features[rows]).kneighbors(features[[row]])
    return rows[places[0]], 1 - distances[0].astype(np.float64)


def _nearest_lesions(
    features: Features, splits: pd.DataFrame, targets: TaskTargets, row: int
) -> dict[str, Any]:
    train, held_out = next(pair for pair in evaluation_pairs(splits) if row in pair[1])
    patients = splits["patient_id"].to_numpy(dtype=object)
    # With the leakage policy `official` a patient may be in training and in test.
    pool = train[patients[train] != patients[row]]
    values = features_evaluating(features, splits["split"].to_numpy(dtype=object)[held_out])
    lesions = splits["lesion_id"].to_numpy(dtype=object)
    found = zip(*nearest(values, pool, row), strict=True) if len(pool) else ()
    return {
        "neighbors": tuple(
            Neighbor(str(lesions[one]), _word(targets.labels[one], targets), float(cosine))
            for one, cosine in found
        ),
        "lesions": len(pool),
        "patients": len(set(patients[pool])),
    }


def _word(label: npt.NDArray[np.int64], targets: TaskTargets) -> str:
    if targets.kind != "multi":
        return targets.classes[label]
    names = (name for name, here in zip(targets.classes, label, strict=True) if here)
    return ", ".join(names) or "none of the labels"
