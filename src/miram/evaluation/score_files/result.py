"""What evaluating any models found, as objects, as a table and as JSON."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.evaluation.statistics.bootstrap import Interval
from miram.evaluation.statistics.comparison import Comparison
from miram.evaluation.statistics.delong import AucInterval, AucTest
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.targets import Skipped

if TYPE_CHECKING:
    from miram.evaluation.score_files.evaluate import ExternalConfig


@dataclass(frozen=True)
class ModelMetrics:
    """What one model achieved.

    Attributes:
        metrics: Intervals by name of the metric; of several trainings or repeats those of their
            mean.
        seeds: Number of trainings.
        seed_deviation: Standard deviation over trainings by name of the metric; None for a single
            one, or where the metric is undefined for one of them.
        repeats: Number of cross-validations of each training.
        repeat_deviation: Standard deviation over these, as `seed_deviation`.
        protocol: Protocol that the scores are of, where their table names any.
        delong: Area under the ROC curve with DeLong's interval, clustered by patient; of binary
            tasks and a single training that was judged once.
        delong_test: DeLong's paired test against the reference; where both have a single training,
            and were cross-validated in the same folds, if at all.
    """

    metrics: dict[str, Interval]
    seeds: int
    seed_deviation: dict[str, float | None]
    repeats: int
    repeat_deviation: dict[str, float | None]
    protocol: str | None
    delong: AucInterval | None
    delong_test: AucTest | None


@dataclass(frozen=True)
class Evaluation:
    """The metrics of several models on the same lesions.

    Attributes:
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        classes: Names of the classes judged; of a binary task both.
        lesions: Lesions judged.
        patients: Patients of these.
        majority_answer: The most frequent answer; empty for `multi`.
        majority: Accuracy of always giving it; for `multi`, of giving each label its more
            frequent value, where all labels of a lesion have to be right.
        models: Metrics by model, in the order given.
        comparisons: Every other model against the reference, paired; Holm over all of them.
        skipped: Lesions and classes that were left out, and why.
        unscored: Lesions of the label table that no model has scored.
        official_training: Lesions judged that are of the official training part, though nobody
            asked for it by name, and no cross-validation kept them apart.
        config: What was asked.
    """

    task: str
    kind: Kind
    classes: tuple[str, ...]
    lesions: int
    patients: int
    majority_answer: str
    majority: Interval
    models: dict[str, ModelMetrics]
    comparisons: tuple[Comparison, ...]
    skipped: tuple[Skipped, ...]
    unscored: int
    official_training: int
    config: "ExternalConfig"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to be known before a metric is believed."""
        if not self.official_training:
            return ()
        return (
            f"{self.official_training} of {self.lesions} judged lesions are of the official "
            "training part: metrics of a model that was trained on them say nothing about new "
            "patients. Judge the test part: --part official_split=test",
        )

    def table(self) -> pd.DataFrame:
        """One row per model and metric; tests stand in the row of the metric they are of."""
        tests = {(row.method, row.metric): row for row in self.comparisons}
        rows = [
            {
                "method": name,
                "task": self.task,
                "metric": metric,
                "estimate": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "lesions": interval.lesions,
                "patients": interval.patients,
                "undefined_draws": interval.undefined_draws,
                "seeds": model.seeds,
                "seed_deviation": model.seed_deviation[metric],
                "repeats": model.repeats,
                "repeat_deviation": model.repeat_deviation[metric],
                "protocol": model.protocol,
                **_test_cells(tests.get((name, metric))),
                **_delong_cells(model if metric == "auc" else None),
                "warning": " ".join(self.warnings) or None,
            }
            for name, model in self.models.items()
            for metric, interval in model.metrics.items()
        ]
        return pd.DataFrame(rows)

    def plain(self) -> dict[str, Any]:
        """The evaluation as JSON values; what is not defined is None."""
        found: dict[str, Any] = asdict(self) | {"config": self.config.model_dump(mode="json")}
        found["warnings"] = self.warnings
        return {name: json_values(value) for name, value in found.items()}


def _test_cells(row: Comparison | None) -> dict[str, Any]:
    cells = ("reference", "difference", "p_value", "p_holm")
    found = {name: getattr(row, name, None) for name in cells}
    ends = {f"difference_{end}": getattr(row, end, None) for end in ("lower", "upper")}
    return found | ends


def _delong_cells(model: ModelMetrics | None) -> dict[str, Any]:
    interval = model.delong if model else None
    test = model.delong_test if model else None
    return {
        "delong_lower": getattr(interval, "lower", None),
        "delong_upper": getattr(interval, "upper", None),
        "delong_p": getattr(test, "p_value", None),
    }


def json_values(value: Any) -> Any:
    """A result as JSON values; what is not defined is None."""
    if isinstance(value, dict):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
