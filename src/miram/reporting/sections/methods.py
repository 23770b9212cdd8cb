"""How the methods differ, how they were trained, and what their decoders reconstructed."""

from collections.abc import Mapping
from typing import Any

from miram.models.methods import METHODS, SUPERVISED
from miram.reporting.charts.images import data_uri, strip
from miram.reporting.charts.training import NOT_TRAINED, PARTS, loss_comparison, scales_of
from miram.reporting.facts.methods import (
    loss_columns,
    loss_label,
    method_table,
    setting_tables,
    training_table,
)
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Methods(Section):
    """What each method is, the settings in which they differ, then all shared settings."""

    title = "Methods and settings"
    template = "methods.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The methods and the tables."""
        names = list(study.methods)
        return {
            "about": [METHODS[name] for name in names if name in METHODS],
            "methods": method_table(study.parameters, names),
            "settings": setting_tables(study.parameters, names),
            "supervised": SUPERVISED in names,
        }


class Training(Section):
    """Losses of all methods, and length and speed of each training."""

    title = "Training"
    template = "training.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The losses with their charts, and the table."""
        histories = {method: result.history for method, result in study.methods.items()}
        losses = loss_columns(histories.values())
        return {
            "losses": [loss_label(name) for name in losses],
            "trainings": training_table(study.methods),
            "untrained": [name for name, history in histories.items() if history.empty],
            "not_trained": NOT_TRAINED,
            "charts": {
                f"loss-{place}": loss_comparison(histories, name)
                for place, name in enumerate(losses)
            },
        }


class Reconstructions(Section):
    """Target, its visible part and reconstruction of the same crops, by method and scale."""

    title = "Reconstructions"
    template = "reconstructions.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Strips of pictures by method, one entry per scale."""
        strips = {
            method: [
                _strips(result.reconstructions, scale)
                for scale in scales_of(result.reconstructions)
            ]
            for method, result in study.methods.items()
        }
        return {"strips": strips}


def _strips(arrays: Mapping[str, Any], scale: int) -> dict[str, Any]:
    first = arrays[f"scale{scale}_target"]
    strips = {part: strip(arrays[f"scale{scale}_{part}"]) for part in PARTS}
    return {
        "scale": scale,
        "size": first.shape[-1],
        "count": len(first),
        "width": strips["target"].width,
        "height": strips["target"].height,
        "parts": {part: data_uri(image) for part, image in strips.items()},
    }
