"""Nested parameters and metrics as the flat names and values that MLflow compares."""

from typing import Any

from pydantic import BaseModel

_LONGEST_PARAMETER = 500


def flatten(key: str, value: Any) -> dict[str, str]:
    """Turn nested values into single parameters, such as `training.optimizer.base_lr`.

    Args:
        key: Name of the value.
        value: A pydantic model, a dictionary, a list or a single value.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        items = [(str(place), item) for place, item in enumerate(value)]
    else:
        return {key: str(value)[:_LONGEST_PARAMETER]}
    flat: dict[str, str] = {}
    for name, item in items:
        flat |= flatten(f"{key}.{name}", item)
    return flat


def flatten_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Turn metrics with intervals into single metrics: `pathology.auc`, `.auc.lower`, `.upper`.

    Of several seeds or repeats `.auc.seed_deviation` and `.auc.repeat_deviation` stand beside them.

    Args:
        metrics: Metrics of `miram.evaluation.assess.assess_features`.
    """
    flat: dict[str, float] = {}
    for task, found in metrics["tasks"].items():
        flat[f"{task}.lesions"] = found["lesions"]
        flat[f"{task}.patients"] = found["patients"]
        for name, values in found["metrics"].items():
            flat[f"{task}.{name}"] = values["estimate"]
            flat[f"{task}.{name}.lower"] = values["lower"]
            flat[f"{task}.{name}.upper"] = values["upper"]
            for spread in ("seed_deviation", "repeat_deviation"):
                if values.get(spread) is not None:
                    flat[f"{task}.{name}.{spread}"] = values[spread]
    return {name: float(value) for name, value in flat.items()}
