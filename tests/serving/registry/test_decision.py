"""Who becomes champion: nobody by luck, anybody by force, and always with a reason."""

import numpy as np
import pandas as pd
import pytest

from miram.serving.registry.decision import PromotionConfig, decide

CONFIG = PromotionConfig()
FORCED = PromotionConfig(force=True)


def predictions(skill, seed=0, patients=40, per_patient=3, task="pathology"):
    """Scores that tell labels as well as `skill` says; the same lesions whatever the seed."""
    lesions = patients * per_patient
    labels = np.random.default_rng(7).integers(0, 2, lesions)
    noise = np.random.default_rng(seed).normal(size=lesions)
    return pd.DataFrame(
        {
            "lesion_id": [f"lesion{n}" for n in range(lesions)],
            "patient_id": [f"patient{n // per_patient}" for n in range(lesions)],
            "task": task,
            "class": "malignant",
            "label": labels,
            "score": 1 / (1 + np.exp(-(skill * (labels - 0.5) + noise))),
            "protocol": "linear",
        }
    )


def decided(candidate, champion, config=CONFIG, kind="binary"):
    return decide(candidate, champion, config, kind=kind, draws=300, seed=0)


def test_the_first_model_is_champion():
    assert decided(predictions(0), None).alias == "champion"


def test_a_better_model_becomes_champion_with_the_interval_as_reason():
    decision = decided(predictions(4), predictions(0, seed=1))
    assert decision.alias == "champion"
    assert decision.comparison.lower > 0
    assert decision.reason.startswith("better: auc differs by +")
    assert "120 lesions of 40 patients" in decision.reason


def test_one_that_may_be_better_by_luck_is_a_challenger():
    decision = decided(predictions(1.0, seed=2), predictions(0.9, seed=3))
    assert decision.alias == "challenger"
    assert decision.comparison.lower <= 0 <= decision.comparison.upper
    assert decision.reason.startswith("not shown to be better")


def test_one_that_is_surely_worse_is_a_challenger_although_zero_is_excluded():
    decision = decided(predictions(0), predictions(4, seed=1))
    assert decision.comparison.upper < 0
    assert decision.alias == "challenger"


def test_force_makes_a_champion_and_says_so():
    decision = decided(predictions(0), predictions(4, seed=1), FORCED)
    assert decision.alias == "champion"
    assert decision.reason.startswith("forced, not shown to be better: auc differs by -")


def test_lesions_are_paired_by_name_whatever_their_order():
    ours, theirs = predictions(2), predictions(1, seed=1)
    shuffled = theirs.sample(frac=1, random_state=0)
    assert decided(ours, shuffled).comparison == decided(ours, theirs).comparison


def test_only_shared_lesions_count():
    ours, theirs = predictions(2), predictions(1, seed=1)
    fewer = theirs[theirs["patient_id"] != "patient0"]
    assert decided(ours, fewer).comparison.lesions == 117
    only = ours[ours["patient_id"] != "patient0"]
    assert decided(ours, fewer).comparison == decided(only, fewer).comparison


def test_other_protocols_and_tasks_do_not_take_part():
    ours, theirs = predictions(2), predictions(1, seed=1)
    noisy = pd.concat([ours, predictions(9, task="density"), predictions(9).assign(protocol="knn")])
    assert decided(noisy, theirs).comparison == decided(ours, theirs).comparison


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (predictions(1).assign(label=1), "other labels now"),
        (predictions(1, task="density"), "share no lesion"),
        (predictions(1).assign(**{"class": "MALIGNANT"}), "classes malignant and MALIGNANT"),
    ],
)
def test_what_cannot_be_compared_is_a_challenger_unless_forced(champion, words):
    decision = decided(predictions(4), champion)
    assert decision.alias == "challenger" and words in decision.reason
    forced = decided(predictions(4), champion, FORCED)
    assert forced.alias == "champion" and words in forced.reason


def test_several_classes_are_compared_by_their_main_metric():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 90)
    names = ("a", "b", "c")

    def table(skill):
        scores = random.dirichlet(np.ones(3), 90) + skill * np.eye(3)[labels]
        scores /= scores.sum(axis=1, keepdims=True)
        return pd.DataFrame(
            [
                {
                    "lesion_id": f"{n:03}",
                    "patient_id": f"patient{n // 2}",
                    "task": "pathology",
                    "class": name,
                    "label": int(labels[n] == k),
                    "score": scores[n, k],
                }
                for n in range(90)
                for k, name in enumerate(names)
            ]
        )

    decision = decided(table(2.0), table(0.0), kind="single")
    assert decision.comparison.metric == "auc_macro"
    assert decision.alias == "champion"
