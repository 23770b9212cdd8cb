"""Which lesions are judged: of the training part only with a warning, and fold by fold."""

import numpy as np
import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients

from miram.errors import MiramError
from miram.evaluation.score_files.evaluate import ExternalConfig, evaluate_scores

PATIENT = np.repeat(np.arange(40), 2)
LESIONS = lesions_of_40_patients().assign(
    official_split=pd.array(np.where(PATIENT < 30, "train", "test"), dtype="string")
)
SCORES = np.random.default_rng(0).random(len(LESIONS))
FOLD = PATIENT // 10


def table(**columns):
    return pd.DataFrame({"lesion_id": LESIONS["lesion_id"], "score": SCORES, **columns})


def ask(scores, labels=LESIONS, **settings):
    scores = scores if isinstance(scores, dict) else {"model": scores}
    return evaluate_scores(scores, labels, ExternalConfig(draws=100, **settings))


def test_judged_lesions_of_the_official_training_part_are_told_everywhere():
    found = ask(table())
    assert found.official_training == 60
    (line,) = found.warnings
    assert "60 of 80 judged lesions are of the official training part" in line
    assert "--part official_split=test" in line
    assert found.plain()["warnings"] == [line] and found.plain()["official_training"] == 60
    assert set(found.table()["warning"]) == {line}


@pytest.mark.parametrize("part", ["official_split=test", "official_split=train"])
def test_a_part_that_was_asked_for_by_name_is_no_surprise(part):
    found = ask(table(), part=part)
    assert found.warnings == () and found.table()["warning"].isna().all()


def test_another_part_and_labels_without_official_parts():
    assert ask(table(), LESIONS.drop(columns="official_split")).warnings == ()
    found = ask(table(), LESIONS.assign(view=np.where(PATIENT < 35, "CC", "MLO")), part="view=CC")
    assert "60 of 70 judged lesions" in found.warnings[0]
    test = table()[LESIONS["official_split"].eq("test").to_numpy(bool)]
    assert ask(test).warnings == ()


def test_cross_validated_scores_are_no_training_scores():
    crossed = table(fold=FOLD)
    assert ask(crossed).warnings == ()
    assert "60 of 80" in ask({"a": crossed, "b": table()}).warnings[0]
    assert "60 of 80" in ask(table(fold=0)).warnings[0]


def test_scores_of_different_folds_are_not_ranked_against_each_other():
    shifted = table(fold=FOLD, score=SCORES / 4 + FOLD / 4)
    area = ask(shifted).models["model"].metrics["auc"]
    assert area == ask(table(fold=FOLD)).models["model"].metrics["auc"]
    assert area != ask(shifted.drop(columns="fold")).models["model"].metrics["auc"]


def test_delong_compares_models_of_the_same_folds_only():
    other = 1 - SCORES
    same = {"a": table(fold=FOLD), "b": table(fold=FOLD, score=other)}
    assert ask(same, reference="a").models["b"].delong_test is not None
    mixed = {"a": table(fold=FOLD), "b": table(score=other)}
    found = ask(mixed, reference="a")
    assert found.models["b"].delong_test is None and found.models["b"].delong is not None
    assert len(found.comparisons) == 1


def test_folds_too_small_for_delong_leave_the_other_metrics():
    found = ask(table(fold=PATIENT // 2)).models["model"]
    assert found.delong is None and np.isfinite(found.metrics["auc"].estimate)


def test_every_lesion_needs_one_fold():
    with pytest.raises(MiramError, match="every lesion needs one fold"):
        ask(table(fold=np.where(PATIENT == 3, np.nan, FOLD)))
    long = pd.concat(
        [
            table(fold=FOLD, **{"class": "malignant"}),
            table(fold=FOLD + 1, **{"class": "benign"}).assign(score=1 - SCORES),
        ]
    )
    with pytest.raises(MiramError, match="every lesion needs one fold"):
        ask(long)


def test_trainings_may_have_folds_of_their_own():
    parts = [table(fold=FOLD, seed=0), table(fold=(PATIENT + 5) // 10 % 4, seed=1)]
    found = ask(pd.concat(parts)).models["model"].metrics["auc"].estimate
    alone = [ask(part).models["model"].metrics["auc"].estimate for part in parts]
    assert found == pytest.approx(np.mean(alone))
