"""Neighbors are of other patients, chosen by a rule that depends on the answers alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from miram.reporting.facts.study import Study
from miram.reporting.sections.neighbors import (
    Neighborhood,
    Neighbors,
    answers,
    most_confident,
    nearest,
    neighborhoods,
)

MakeStudy = Callable[..., Study]


def _with_features(study: Study) -> Study:
    """The study with features of `mae`: one direction per lesion and patient."""
    names = study.splits["lesion_id"]
    values = np.random.default_rng(0).normal(size=(len(names), 8))
    # Lesions of one patient are almost the same.
    values = values[pd.factorize(study.splits["patient_id"])[0]] + 0.01 * values
    table = pd.DataFrame(values, columns=[f"f{k}" for k in range(8)])
    table.insert(0, "lesion_id", names.to_numpy())
    methods = {**study.methods, "mae": replace(study.methods["mae"], features=table)}
    return replace(study, methods=methods)


def _patients(study: Study) -> dict[str, str]:
    return dict(zip(study.splits["lesion_id"], study.splits["patient_id"], strict=True))


def _check(study: Study, found: list[Neighborhood]) -> None:
    patient = _patients(study)
    assert found
    for item in found:
        others = {patient[one.lesion] for one in item.neighbors}
        assert len(item.neighbors) == 5
        assert patient[item.lesion] not in others
        cosines = [one.cosine for one in item.neighbors]
        assert cosines == sorted(cosines, reverse=True)
        assert all(-1 <= cosine <= 1 + 1e-9 for cosine in cosines)


@pytest.mark.parametrize("which", ["study", "cv_study", "leaking_study"])
def test_neighbors_are_of_other_patients_that_the_probe_learned_from(
    request: pytest.FixtureRequest, which: str
) -> None:
    study = _with_features(request.getfixturevalue(which))
    found = neighborhoods(study, "mae", "pathology")
    _check(study, found)
    side = dict(zip(study.splits["lesion_id"], study.splits["split"], strict=True))
    for item in found:
        sides = {side[one.lesion] for one in item.neighbors}
        assert side[item.lesion] not in sides
        assert item.patients < 32


def test_labels_and_answers_are_those_of_the_predictions(study: Study) -> None:
    found = neighborhoods(_with_features(study), "mae", "pathology")
    table = study.methods["mae"].predictions.set_index("lesion_id")
    truth = study.lesions.set_index("lesion_id")["pathology"].str.lower()
    assert [item.right for item in found] == sorted((item.right for item in found), reverse=True)
    for item in found:
        score = table.loc[item.lesion, "score"]
        assert item.answer == ("malignant" if score > 0.5 else "benign")
        assert item.confidence == pytest.approx(max(score, 1 - score))
        assert item.right == (item.answer == item.label)
        assert item.label == truth[item.lesion]
        assert all(one.label == truth[one.lesion] for one in item.neighbors)


def test_each_lesion_is_looked_up_in_the_features_that_may_evaluate_it(cv_study: Study) -> None:
    study = cv_study
    folds = sorted(set(study.splits["split"]))
    tables = []
    for fold in folds:
        table = _with_features(study).methods["mae"].features.assign(fold=fold)
        # In the features of a fold's encoder, lesions of that fold point along one axis of its own.
        inside = study.splits["split"].eq(fold).to_numpy()
        features = np.zeros((len(table), 8))
        features[:, folds.index(fold)] = 1
        features[~inside, 7] = np.arange((~inside).sum())
        table[[f"f{k}" for k in range(8)]] = features
        tables.append(table)
    methods = dict(study.methods)
    methods["mae"] = replace(methods["mae"], features=pd.concat(tables, ignore_index=True))
    found = neighborhoods(replace(study, methods=methods), "mae", "pathology")
    # The first lesion outside the fold has the very same features.
    assert [item.neighbors[0].cosine for item in found] == pytest.approx([1] * len(found))


def test_of_several_seeds_the_first_is_shown(study: Study) -> None:
    once = _with_features(study)
    table = once.methods["mae"].features
    turned = table.assign(**{f"f{k}": -(k + 1) * table[f"f{k}"] for k in range(8)}, seed=7)
    both = pd.concat([table.assign(seed=0), turned], ignore_index=True)
    methods = {**once.methods, "mae": replace(once.methods["mae"], features=both)}
    seeded = replace(once, methods=methods)
    assert neighborhoods(seeded, "mae", "pathology") == neighborhoods(once, "mae", "pathology")


def test_method_without_features_has_no_neighbors(study: Study) -> None:
    assert not Neighbors().applies(study)


def test_most_confident_answers_come_first_one_per_patient() -> None:
    right = np.array([True, True, True, True, False, False])
    confidence = np.array([0.6, 0.9, 0.8, 0.7, 0.55, 0.95])
    patients = np.array(["a", "b", "b", "c", "d", "b"], dtype=object)
    assert most_confident(right, confidence, patients) == [1, 3, 5, 4]


def test_answers_of_each_kind_of_task() -> None:
    binary = answers(np.array([[0.8], [0.3]]), "binary")
    assert (binary[0].tolist(), binary[1].tolist()) == ([1, 0], [0.8, 0.7])
    single = answers(np.array([[0.5, 0.3, 0.2]]), "single")
    assert (single[0].tolist(), single[1].tolist()) == ([0], [0.5])
    multi = answers(np.array([[0.9, 0.2]]), "multi")
    assert multi[0].tolist() == [[1, 0]]
    assert multi[1] == pytest.approx([0.85])


def test_nearest_is_by_angle_and_not_by_length() -> None:
    features = np.array([[1.0, 0.0], [100.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    rows, cosines = nearest(features, np.array([1, 2, 3]), 0)
    assert rows.tolist() == [1, 2, 3]
    assert cosines == pytest.approx([100 / np.hypot(100, 1), np.sqrt(0.5), -1])
