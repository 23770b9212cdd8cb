"""How the methods differ, how they were trained, and what their decoders reconstructed."""

from typing import Any

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig
from miram.models.methods import METHODS, SUPERVISED
from miram.reporting.charts.reconstructions import fidelity, hidden_patches, picture
from miram.reporting.charts.training import loss_figure, scales_of
from miram.reporting.facts.methods import (
    differing_settings,
    method_block,
    method_table,
    plain,
    setting_tables,
    training_table,
)
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import counted
from miram.reporting.sections.section import Section


class Methods(Section):
    """What each method is, the settings in which they differ, then all shared settings."""

    title = "Methods and settings"
    template = "methods.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The methods and the tables."""
        names = list(study.methods)
        differing, alike = differing_settings(method_table(study.parameters, names))
        return {
            "line": f"{counted(len(differing.rows), 'setting')} "
            f"{'differs' if len(differing.rows) == 1 else 'differ'} between methods",
            "about": [METHODS[name] for name in names if name in METHODS],
            "differing": differing,
            "alike": alike,
            "settings": setting_tables(study.parameters, names),
            "supervised": SUPERVISED in names,
        }


class Training(Section):
    """Losses of all methods in one chart, and one crop as each of them reconstructs it."""

    title = "Training and reconstructions"
    template = "training.html"

    def applies(self, study: Study) -> bool:
        """Whether anything was trained."""
        return any(not result.history.empty for result in study.methods.values())

    def data(self, study: Study) -> dict[str, Any]:
        """The chart, the length of each training, and the pictures by scale."""
        histories = {method: result.history for method, result in study.methods.items()}
        steps = [int(one["step"].iloc[-1]) for one in histories.values() if not one.empty]
        return {
            "line": f"{len(steps)} of {counted(len(histories), 'method')} trained, "
            f"{min(steps)} to {max(steps)} steps",
            "trainings": training_table(study.methods),
            "scales": reconstructions_by_scale(study),
            "charts": {"losses": loss_figure(histories)},
        }


def reconstructions_by_scale(study: Study) -> list[dict[str, Any]]:
    """The first crop as every method with a decoder at a scale reconstructs it.

    Empty where the run's parameters do not say how large a patch is.
    """
    made = {name: one.reconstructions for name, one in study.methods.items() if one.reconstructions}
    try:
        grid = EncoderConfig.model_validate(plain(study.parameters.get("encoder", {}))).grid_side
    except MiramError:
        return []
    found = []
    for scale in sorted({scale for arrays in made.values() for scale in scales_of(arrays)}):
        here = {name: arrays for name, arrays in made.items() if scale in scales_of(arrays)}
        first = next(iter(here.values()))
        target = first[f"scale{scale}_target"][0]
        found.append(
            {
                "scale": scale,
                "size": target.shape[-1],
                "target": picture(target),
                "methods": [
                    {
                        "method": name,
                        "uri": picture(
                            arrays[f"scale{scale}_prediction"][0],
                            hidden_patches(arrays, scale, grid)[0],
                        ),
                        "fidelity": fidelity(arrays, scale, grid),
                        "borrowed": bool(method_block(study, name).get("norm_pix")),
                    }
                    for name, arrays in here.items()
                ],
            }
        )
    return found
