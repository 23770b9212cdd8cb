"""How the methods differ, how they were trained, and what their decoders reconstructed."""

from typing import Any

import numpy as np

from miram.evaluation.statistics.bootstrap import Interval, intervals_of
from miram.models.fidelity import hidden_patches
from miram.models.methods import METHODS, SUPERVISED
from miram.reporting.charts.images import picture
from miram.reporting.charts.training import loss_figure, scales_of
from miram.reporting.facts.methods import (
    differing_settings,
    method_block,
    method_table,
    setting_tables,
    study_encoder,
    training_table,
)
from miram.reporting.facts.study import MethodResult, Study, joined
from miram.reporting.facts.words import counted
from miram.reporting.sections.section import Section

_PARTS = {"val": "validation", "train": "training"}


class Methods(Section):
    """What each method is, the settings in which they differ, then all shared settings."""

    title = "Methods and settings"
    template = "methods.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The methods and the tables."""
        names = list(study.methods)
        differing, alike = differing_settings(method_table(study, names))
        return {
            "line": f"{counted(len(differing.rows), 'setting')} "
            f"{'differs' if len(differing.rows) == 1 else 'differ'} between methods",
            "about": [METHODS[name] for name in names if name in METHODS],
            "differing": differing,
            "alike": alike,
            "settings": setting_tables(study),
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
            f"{' to '.join(map(str, sorted({min(steps), max(steps)})))} steps",
            "trainings": training_table(study.methods),
            "scales": reconstructions_by_scale(study),
            "charts": {"losses": loss_figure(histories)},
        }


def reconstructions_by_scale(study: Study) -> list[dict[str, Any]]:
    """The first crop as every method with a decoder at a scale reconstructs it.

    Empty where the run's parameters do not say how large a patch is.
    """
    if (encoder := study_encoder(study)) is None:
        return []
    made = {name: one.reconstructions for name, one in study.methods.items() if one.reconstructions}
    fidelity = joined(study.methods, "fidelity")
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
                "part": "" if fidelity.empty else _PARTS[fidelity["part"].iloc[0]],
                "methods": [
                    {
                        "method": name,
                        "uri": picture(
                            arrays[f"scale{scale}_prediction"][0],
                            hidden_patches(arrays, scale, encoder.grid_side)[0],
                        ),
                        "fidelity": mean_fidelity(study, study.methods[name], scale),
                        "borrowed": bool(method_block(study, name).get("norm_pix")),
                    }
                    for name, arrays in here.items()
                ],
            }
        )
    return found


def mean_fidelity(study: Study, result: MethodResult, scale: int) -> dict[str, Interval]:
    """`psnr` in dB and `ssim` of a method at a scale: means over crops, intervals over patients.

    Empty for a method without them, as in studies of before.
    """
    if result.fidelity.empty:
        return {}
    rows = result.fidelity[result.fidelity["scale"] == scale]
    names = ["psnr", "ssim"]
    values = rows[names].to_numpy()
    config = study.assessment

    def means(weights: np.ndarray) -> np.ndarray:
        return values.T @ (weights / weights.sum(axis=0))  # (2, n) @ (n, draws)

    patients = rows["patient_id"].to_numpy()
    return intervals_of(names, means, patients, draws=config.bootstrap_draws, seed=config.seed)
