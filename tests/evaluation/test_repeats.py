"""A cross-validation that is repeated: metrics are means over assignments of patients to folds."""

import numpy as np
import pandas as pd
import pytest
from sample_lesions import FEW_FITS

from miram.errors import MiramError
from miram.evaluation.assess import assess_features, assess_seeds
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import task_scores
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.score_files import ScoreFilesConfig, evaluate_scores
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.comparison import compare_methods
from miram.evaluation.statistics.inputs import SeedScores, same_folds
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.statistics.per_class import class_rows
from miram.evaluation.statistics.subgroups import subgroup_rows
from miram.evaluation.tasks.definitions import TASKS
from miram.mammography.splits import SplitConfig, assign_splits, split_repeats

OPTIONS = {"draws": 200, "seed": 0}
CONFIG = AssessmentConfig.model_validate({"bootstrap_draws": 100, "linear_probe": FEW_FITS})
PATIENTS = np.repeat(np.arange(60), 2)
LABELS = np.random.default_rng(0).integers(2, size=120)
FOLDS = np.stack([np.random.default_rng(seed).integers(4, size=60)[PATIENTS] for seed in (1, 2)])


def scores_of(seed):
    noise = np.random.default_rng(seed).normal(size=len(LABELS))
    return 1 / (1 + np.exp(-(LABELS + noise)))


@pytest.fixture(scope="module")
def given(sample):
    """A sample whose patients are assigned to three folds, three times."""
    found = sample(60, strategy="cv")
    return found, assigned(found.lesions, found.splits, repeats=3)


def assigned(lesions, splits, **settings):
    table = lesions.set_index("lesion_id").loc[splits["lesion_id"]].reset_index()
    table = table.assign(official_split=pd.NA, leaks=False)
    config = SplitConfig.model_validate({"strategy": "cv", "folds": 3, **settings})
    return assign_splits(table, config)


def areas(found):
    return found.metrics["tasks"]["pathology"]["metrics"]["auc"]


def test_a_metric_is_the_mean_over_repeats_each_ranked_within_its_own_folds():
    one, other = scores_of(1), scores_of(2)
    shifted = [scores / (1 + folds) for scores, folds in zip((one, other), FOLDS, strict=True)]
    scores = SeedScores(tuple(shifted), FOLDS, repeats=2)
    expected = np.mean([compute_metrics(LABELS, s, ["auc"], f)["auc"] for s, f in scores.parts()])
    found = cluster_bootstrap(LABELS, scores, PATIENTS, ["auc"], **OPTIONS)["auc"]
    (row,) = class_rows(LABELS, scores, PATIENTS, ["no", "yes"], **OPTIONS)
    assert found.estimate == pytest.approx(expected, abs=1e-12)
    assert row.metrics["auc"].estimate == pytest.approx(expected, abs=1e-12)
    constant = SeedScores((np.full(120, 0.5),) * 2, FOLDS, repeats=2)
    (against,) = compare_methods(
        LABELS, {"a": scores, "b": constant}, PATIENTS, reference="b", metric="auc", **OPTIONS
    )
    assert against.difference == pytest.approx(expected - 0.5, abs=1e-12)
    assert (against.seeds, against.reference_seeds) == (1, 1)


def test_subgroups_are_evaluated_within_the_folds_of_each_repeat():
    site = PATIENTS % 2
    scores = SeedScores((scores_of(1), scores_of(2)), FOLDS, repeats=2)
    rows = subgroup_rows(
        LABELS, scores, PATIENTS, site, subgroup="site", metrics=["auc"], **OPTIONS
    )
    for value, row in enumerate(rows):
        here = site == value
        parts = [(one[here], folds[here]) for one, folds in scores.parts()]
        expected = np.mean(
            [compute_metrics(LABELS[here], one, ["auc"], f)["auc"] for one, f in parts]
        )
        assert row.intervals["auc"].estimate == pytest.approx(expected, abs=1e-12)


def test_seed_and_repeat_are_distinguished():
    scores = SeedScores(tuple(map(scores_of, range(6))), np.stack([*FOLDS] * 3), repeats=2)
    assert scores.seeds == 3
    reported = scores.spread([0.5, 0.6, 0.5, 0.6, 0.5, 0.6])
    assert reported["by_seed"] == pytest.approx([0.55] * 3)
    assert reported["by_repeat"] == pytest.approx([0.5, 0.6])
    assert reported["seed_deviation"] == pytest.approx(0)
    assert reported["repeat_deviation"] == pytest.approx(0.1 / 2**0.5)
    assert SeedScores((scores_of(0),)).spread([0.5]) == {}
    undefined = scores.spread([0.5, 0.6, 0.5, float("nan"), 0.5, 0.6])
    assert undefined["seed_deviation"] is None


def test_seeds_that_were_not_evaluated_equally_often_are_refused():
    with pytest.raises(StatisticsError, match="3 tables of scores for 2 repeats"):
        SeedScores(tuple(map(scores_of, range(3))), repeats=2)


def test_a_study_gives_the_mean_of_its_repeats_and_each_is_that_of_its_own_folds(given):
    sample, splits = given
    found = assess_features({WHOLE: sample.features}, sample.lesions, splits, CONFIG)
    alone = [
        areas(assess_features({WHOLE: sample.features}, sample.lesions, repeat, CONFIG))
        for repeat in split_repeats(splits)
    ]
    expected = [one["estimate"] for one in alone]
    assert len(set(expected)) == 3
    assert areas(found)["by_repeat"] == pytest.approx(expected)
    assert areas(found)["estimate"] == pytest.approx(np.mean(expected))
    assert areas(found)["repeat_deviation"] == pytest.approx(np.std(expected, ddof=1))
    assert "by_seed" not in areas(found)
    assert found.metrics["repeats"] == 3
    assert "by_repeat" not in alone[0]
    # The interval is that of other patients: no narrower for having been asked three times.
    widths = [one["upper"] - one["lower"] for one in alone]
    assert areas(found)["upper"] - areas(found)["lower"] > 0.5 * np.mean(widths)


def test_predictions_hold_every_repeat_of_every_seed(given):
    sample, splits = given
    other = np.random.default_rng(9).normal(size=sample.features.shape)
    by_seed = {4: {WHOLE: sample.features}, 7: {WHOLE: other}}
    found = assess_seeds(by_seed, sample.lesions, splits, CONFIG)
    counts = found.predictions.groupby(["seed", "repeat"]).size()
    assert list(counts.index) == [(seed, repeat) for seed in (4, 7) for repeat in (1, 2, 3)]
    read = task_scores(found.predictions, "pathology")
    assert (read.seeds.seeds, read.seeds.repeats) == (2, 3)
    order = np.argsort(splits["lesion_id"].to_numpy())
    for place, repeat in enumerate(split_repeats(splits)):
        folds = pd.factorize(repeat["split"].to_numpy()[order], sort=True)[0]
        np.testing.assert_array_equal(read.seeds.folds[place], folds)
    labels, scores = read.of_kind("binary")
    again = cluster_bootstrap(labels, scores, read.patients, ["auc"], draws=100, seed=0)["auc"]
    assert again.estimate == pytest.approx(areas(found)["estimate"])


def test_exported_predictions_give_the_metrics_of_the_study(given):
    sample, splits = given
    found = assess_features({WHOLE: sample.features}, sample.lesions, splits, CONFIG)
    config = ScoreFilesConfig(draws=100, seed=0, reference="same")
    table = found.predictions.sample(frac=1, random_state=0)
    models = {"ours": table, "same": found.predictions}
    again = evaluate_scores(models, sample.lesions, TASKS["pathology"], config).models["ours"]
    assert (again["seeds"], again["repeats"]) == (1, 3)
    for name in ("estimate", "lower", "repeat_deviation"):
        assert again["metrics"]["auc"][name] == pytest.approx(areas(found)[name])
    assert again["delong"] is None


def test_a_seed_without_one_of_the_repeats_is_refused(given):
    sample, splits = given
    by_seed = {seed: {WHOLE: sample.features} for seed in (1, 2)}
    table = assess_seeds(by_seed, sample.lesions, splits, CONFIG).predictions
    torn = table[(table["seed"] == 1) | (table["repeat"] < 3)]
    asked = (sample.lesions, TASKS["pathology"], ScoreFilesConfig(draws=100))
    with pytest.raises(StatisticsError, match="cross-validated equally often"):
        evaluate_scores({"m": torn}, *asked)
    empty = table.assign(repeat=table["repeat"].where(table.index > 0))
    with pytest.raises(MiramError, match="model m leaves a key empty"):
        evaluate_scores({"m": empty}, *asked)


@pytest.mark.slow
def test_methods_evaluated_in_other_folds_are_distinguished(given):
    sample, splits = given
    others = assigned(sample.lesions, splits, repeats=3, seed=1)

    def evaluated(table):
        found = assess_features({WHOLE: sample.features}, sample.lesions, table, CONFIG)
        return task_scores(found.predictions, "pathology").seeds

    assert same_folds(evaluated(splits), evaluated(splits))
    assert not same_folds(evaluated(splits), evaluated(others))
    assert not same_folds(evaluated(splits), evaluated(split_repeats(splits)[0]))
