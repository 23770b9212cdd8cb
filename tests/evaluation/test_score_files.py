"""Any model's scores: a study's own metrics come back, and what does not fit is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic_core import to_json
from sklearn.metrics import roc_auc_score

from miram.errors import MiramError
from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.score_files import ScoreFilesConfig, evaluate_scores, read_table
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.tasks.definitions import TASKS as KNOWN
from miram.evaluation.tasks.definitions import TaskConfig
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.splits import SplitConfig, assign_splits

DRAWS, SEED = 100, 3
TASKS = ("pathology", "pathology4", "mass_margins", "density")


def lesion_table(patients=40):
    random = np.random.default_rng(0)
    margins = ["CIRCUMSCRIBED", "OBSCURED", "SPICULATED"]
    rows = []
    for patient in range(patients):
        mass = patient % 2 == 0
        for view in ("CC", "MLO"):
            found = [name for name in margins if random.random() < 0.5] if mass else None
            rows.append(
                {
                    "lesion_id": f"P_{patient:05d}_{view}",
                    "patient_id": f"P_{patient:05d}",
                    "image_id": f"{patient}.{view}",
                    "abnormality_type": "mass" if mass else "calcification",
                    "pathology": ("BENIGN", "BENIGN_WITHOUT_CALLBACK", "MALIGNANT", "MALIGNANT")[
                        patient // 2 % 4
                    ],
                    # The first lesion has no density: it cannot answer that task.
                    "density": patient // 2 % 4 + 1 if rows else None,
                    "mass_margins": found,
                    "leaks": False,
                    "official_split": "train" if patient % 16 < 8 else "test",
                    "image_path": f"{patient}_{view}.dcm",
                    "mask_paths": [],
                }
            )
    return validate_lesions(pd.DataFrame(rows))


LESIONS = lesion_table()


def study(strategy, strength=1.0, seed=1, tasks=("pathology",)):
    """Metrics and predictions of one encoder of a study."""
    splits = assign_splits(
        LESIONS, SplitConfig.model_validate({"strategy": strategy, "folds": 4, "seed": 0})
    )
    features = np.random.default_rng(seed).normal(size=(len(LESIONS), 6))
    features[:, 0] += strength * LESIONS["pathology"].eq("MALIGNANT").to_numpy(float)
    config = AssessmentConfig(
        tasks=tasks,
        linear_probe=LinearProbeConfig(regularization=(0.1,)),
        bootstrap_draws=DRAWS,
        seed=SEED,
    )
    return assess_features({WHOLE: features}, LESIONS, splits, config)


@pytest.fixture(scope="module")
def studies():
    return {strategy: study(strategy, tasks=TASKS) for strategy in ("official", "cv")}


def ask(scores, labels=LESIONS, *, task="pathology", **settings):
    config = ScoreFilesConfig.model_validate({"draws": DRAWS, "seed": SEED, **settings})
    scores = scores if isinstance(scores, dict) else {"model": scores}
    return evaluate_scores(
        scores, labels, task if isinstance(task, TaskConfig) else KNOWN[task], config
    )


def model(scores, *arguments, **settings):
    return ask(scores, *arguments, **settings).models["model"]


def area(scores, *arguments, **settings):
    return model(scores, *arguments, **settings)["metrics"]["auc"]


def wide(predictions, task):
    """One row per lesion, in an order of its own, as other programs write it."""
    rows = predictions[predictions["task"] == task]
    table = rows.pivot(index=["lesion_id", "fold"], columns="class", values="score").reset_index()
    return table.sample(frac=1, random_state=0)


def simple(**columns):
    return pd.DataFrame({"lesion_id": LESIONS["lesion_id"], "malignant": 0.5, **columns})


SCORES = np.random.default_rng(0).random(len(LESIONS))
PATIENT = np.repeat(np.arange(40), 2)
FOLD = PATIENT // 10


def crossed(**columns):
    return simple(malignant=SCORES, fold=FOLD).assign(**columns)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strategy", ["official", "cv"])
def test_predictions_of_a_study_give_its_own_entry_digit_for_digit(studies, strategy, task):
    expected = studies[strategy].metrics["tasks"][task]
    predictions = studies[strategy].predictions
    shuffled = predictions.sample(frac=1, random_state=0)
    for table in (predictions, shuffled, wide(predictions, task)):
        found = model(table, task=task)
        same = set(found) - {"seeds", "protocol"}
        assert {name: found[name] for name in same} == {name: expected[name] for name in same}
        assert {"metrics", "per_class", "delong", "majority", "lesions", "patients"} <= same


@pytest.mark.parametrize("task", TASKS)
def test_a_csv_on_the_way_changes_no_digit(studies, task, tmp_path):
    path, labels = tmp_path / "scores.csv", tmp_path / "labels.csv"
    wide(studies["cv"].predictions, task).to_csv(path, index=False)
    joined = LESIONS["mass_margins"].map(lambda names: "-".join(names or []))
    LESIONS.assign(mass_margins=joined).to_csv(labels, index=False)
    found = model(read_table(path), read_table(labels), task=task)
    assert found["metrics"] == studies["cv"].metrics["tasks"][task]["metrics"]


def test_the_scores_of_one_protocol_are_taken_where_there_are_several(studies):
    linear = studies["cv"].predictions.query("task == 'pathology'")
    table = pd.concat([linear.assign(score=0.5), linear.assign(protocol="knn")])
    found = model(table, protocol="knn")
    assert found["metrics"] == studies["cv"].metrics["tasks"]["pathology"]["metrics"]
    assert area(table)["estimate"] == 0.5
    with pytest.raises(MiramError, match="no scores for the protocol 'mae_probe': it has knn, li"):
        ask(table, protocol="mae_probe")


def test_a_file_of_one_protocol_is_compared_with_one_of_several():
    probes = pd.concat([simple(protocol="linear"), simple(protocol="knn", malignant=0.9)])
    scores = {"tuned": simple(protocol="finetuned"), "probe": probes, "peer": simple()}
    found = ask(scores, reference="probe")
    used = {name: one["protocol"] for name, one in found.models.items()}
    assert used == {"tuned": "finetuned", "probe": "linear", "peer": None}
    assert [row.method for row in found.comparisons] == ["tuned", "peer"]


def test_trainings_with_several_seeds_are_one_model_with_its_mean_and_spread():
    trainings = [study("cv", seed=seed).predictions for seed in (1, 2)]
    several = pd.concat([table.assign(seed=seed) for seed, table in enumerate(trainings)])
    found = ask({"several": several, "one": trainings[0]}, reference="several")
    alone = [area(table)["estimate"] for table in trainings]
    metric = found.models["several"]["metrics"]["auc"]
    assert metric["estimate"] == pytest.approx(np.mean(alone))
    assert metric["seed_deviation"] == pytest.approx(np.std(alone, ddof=1))
    assert "seed_deviation" not in found.models["one"]["metrics"]["auc"]
    assert found.models["several"]["delong"] is None and found.delong_p == {}
    (row,) = found.comparisons
    assert (row.seeds, row.reference_seeds) == (1, 2)
    table = found.table().set_index(["method", "metric"])
    assert table.loc[("several", "auc"), "seeds"] == 2
    assert table.loc[("several", "auc"), "seed_deviation"] == metric["seed_deviation"]


def area_within_folds(table):
    """Share of pairs of a fold that are ranked right, by scikit-learn."""
    counts, areas = [], []
    for _, here in table.groupby("fold"):
        counts.append(here["label"].sum() * (1 - here["label"]).sum())
        areas.append(roc_auc_score(here["label"], here["score"]))
    return np.average(areas, weights=counts)


def test_models_are_compared_in_pairs_with_holm_and_delong():
    strong, weak = study("cv", 3.0).predictions, study("cv", 0.0, seed=2).predictions
    models = {"ours": study("cv").predictions, "strong": strong, "weak": weak}
    found = ask(models, reference="ours")
    assert [row.method for row in found.comparisons] == ["strong", "weak"]
    for row in found.comparisons:
        expected = area_within_folds(models[row.method]) - area_within_folds(models["ours"])
        assert row.difference == pytest.approx(expected, abs=1e-12)
        assert row.p_holm >= row.p_value and 0 < found.delong_p[row.method] <= 1
    assert found.comparisons[0].difference > 0 > found.comparisons[1].difference
    table = found.table()
    assert len(table) == 3 * table["metric"].nunique()
    assert table[["estimate", "lower", "upper", "lesions", "patients"]].notna().all().all()
    tested = table[table["p_holm"].notna()]
    pairs = list(zip(tested["method"], tested["metric"], strict=True))
    assert pairs == [("strong", "auc"), ("weak", "auc")]
    assert tested["delong_p"].notna().all() and set(tested["reference"]) == {"ours"}


def test_models_can_be_compared_by_accuracy_as_the_paper_does(studies):
    models = {"a": studies["cv"].predictions, "b": study("cv", 3.0, tasks=TASKS[1:2]).predictions}
    found = ask(models, task="pathology4", reference="a", compare_by="accuracy")
    one, other = (found.models[name]["metrics"]["accuracy"]["estimate"] for name in "ab")
    assert found.comparisons[0].difference == pytest.approx(other - one)


def test_json_is_strict_and_says_the_same(studies):
    found = ask(studies["cv"].predictions)
    read = json.loads(to_json(found, inf_nan_mode="null"))
    assert read["models"]["model"]["metrics"] == found.models["model"]["metrics"]
    assert read["config"]["draws"] == DRAWS


def test_a_binary_task_needs_one_score_under_any_documented_name():
    expected = ask(simple(malignant=SCORES)).models
    both = simple(malignant=SCORES, benign=1 - SCORES)
    score = simple(score=SCORES).drop(columns="malignant")
    assert ask(both).models == ask(score).models == expected


def test_a_part_of_the_labels_is_evaluated_whole_and_the_rest_is_counted():
    found = ask(simple(), part="official_split=test")
    test = int(LESIONS["official_split"].eq("test").sum())
    assert found.models["model"]["lesions"] == test
    (row,) = found.skipped
    assert (row.lesions, row.reason) == (
        len(LESIONS) - test,
        "scored, but not in official_split=test",
    )
    few = simple().merge(LESIONS.loc[LESIONS["official_split"] == "test", ["lesion_id"]])
    alone = ask(few, part="official_split=test")
    assert alone.models == found.models and alone.unscored == len(LESIONS) - test


def test_lesions_and_labels_that_cannot_answer_are_left_out_with_the_reason():
    table = pd.DataFrame(0.25, index=LESIONS["lesion_id"], columns=list("1234")).reset_index()
    found = ask(table, task="density")
    assert found.models["model"]["lesions"] == len(LESIONS) - 1
    assert [(row.lesions, row.reason) for row in found.skipped] == [(1, "density is missing")]
    dropped = model(simple(), without_callback="drop")
    assert dropped["lesions"] == LESIONS["pathology"].ne("BENIGN_WITHOUT_CALLBACK").sum()
    margins = table.rename(columns={"1": "CIRCUMSCRIBED", "2": "SPICULATED"})
    found = ask(margins.drop(columns=["3", "4"]), task="mass_margins")
    assert found.models["model"]["classes"] == ["CIRCUMSCRIBED", "SPICULATED"]
    assert ("class OBSCURED", "no model scores it") in {(s.what, s.reason) for s in found.skipped}


def test_a_task_of_ones_own_can_be_asked_with_the_classes_found_in_the_labels():
    labels = LESIONS.assign(grade=[str(i % 3 + 1) for i in range(len(LESIONS))])
    table = simple(**{"1": 0.5, "2": 0.3, "3": 0.2}).drop(columns="malignant")
    task = TaskConfig(name="grade", kind="single", column="grade")
    assert model(table, labels, task=task)["classes"] == ["1", "2", "3"]
    binary = TaskConfig(name="grade", kind="binary", column="grade", positive=("3",))
    assert (
        model(simple(score=0.5)[["lesion_id", "score"]], labels, task=binary)["classes"][1] == "3"
    )


def test_training_lesions_are_warned_of_unless_asked_for_or_cross_validated():
    (line,) = ask(simple()).warnings
    assert "48 of 80 evaluated lesions are of the official training part" in line
    assert set(ask(simple()).table()["warning"]) == {line}
    for part in ("official_split=test", "official_split=train"):
        assert ask(simple(), part=part).warnings == ()
    assert ask(simple(), LESIONS.drop(columns="official_split")).warnings == ()
    assert ask(crossed()).warnings == ()
    assert ask({"a": crossed(), "b": simple()}).warnings == (line,)
    assert ask(simple(fold=0)).warnings == (line,)


def test_scores_of_different_folds_are_not_ranked_against_each_other():
    shifted = crossed(malignant=SCORES / 4 + FOLD / 4)
    assert area(shifted) == area(crossed()) != area(shifted.drop(columns="fold"))
    folds = (FOLD, (PATIENT + 5) // 10 % 4)
    parts = [crossed(fold=fold, seed=seed) for seed, fold in enumerate(folds)]
    alone = [area(part)["estimate"] for part in parts]
    assert area(pd.concat(parts))["estimate"] == pytest.approx(np.mean(alone))


def test_delong_compares_models_of_the_same_folds_only_and_leaves_small_folds_out():
    other = 1 - SCORES
    same = {"a": crossed(), "b": crossed(malignant=other)}
    assert set(ask(same, reference="a").delong_p) == {"b"}
    mixed = ask({"a": crossed(), "b": simple(malignant=other)}, reference="a")
    assert mixed.delong_p == {} and len(mixed.comparisons) == 1
    tiny = model(crossed(fold=PATIENT // 3))
    assert tiny["delong"] is None and np.isfinite(tiny["metrics"]["auc"]["estimate"])


LONG = simple().rename(columns={"malignant": "score"}).assign(**{"class": "malignant"})
FIRST, FOURTH = LESIONS["lesion_id"].iloc[0], LESIONS["lesion_id"].iloc[3]


def changed(value):
    scores = np.full(len(LESIONS), 0.5, dtype=object)
    scores[3] = value
    return simple(malignant=scores)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (changed(np.nan), f"score of lesion {FOURTH} is nan"),
        (changed(1.2), f"score of lesion {FOURTH} is 1.2 .1 such scores.: give a probability"),
        (changed("high"), f"score of lesion {FOURTH} is high"),
        (pd.concat([simple(), simple().head(1)]), f"scores lesion {FIRST} twice"),
        (pd.concat([LONG, LONG.head(1)]), f"scores lesion {FIRST} twice"),
        (LONG.drop(columns="score"), "has no scores: a table of scores has the columns lesion_id"),
        (LONG.assign(**{"class": "cancer"}), "scores the unknown class 'cancer'"),
        (LONG.assign(**{"class": "benign"}), "no scores for the class 'malignant': it has benign"),
        (LONG.assign(task="density"), "no scores for the task 'pathology': it has density"),
        (simple(cancer=0.5), "the unknown column 'cancer'"),
        (simple()[["lesion_id"]], "has no scores"),
        (simple().rename(columns={"lesion_id": "id"}), "the unknown column 'id'"),
        (
            simple(seed=np.r_[np.nan, np.ones(79)]),
            "leaves a key empty: fill lesion_id, class",
        ),
        (simple().assign(lesion_id=LESIONS["image_id"]), "lesion 0.CC .80 such lesions. is scored"),
        (LONG.assign(label=1), "another label for lesion P_00000_CC, class 'malignant', than"),
        (crossed(fold=np.where(PATIENT == 3, np.nan, FOLD)), "every lesion needs one fold"),
    ],
)
def test_scores_that_are_not_in_order_are_refused(table, words):
    with pytest.raises(MiramError, match=words):
        ask(table)


def test_labels_of_the_scores_author_that_are_right_change_nothing():
    truth = LESIONS["pathology"].eq("MALIGNANT").astype(int).to_numpy()
    assert ask(LONG.assign(label=truth)).models == ask(LONG).models


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pd.concat([LESIONS, LESIONS.head(2)]), f"lesion {FIRST} has several rows"),
        (LESIONS.drop(columns="patient_id"), "needs patient_id in every row"),
        (LESIONS.assign(patient_id=None), "needs patient_id in every row"),
        (LESIONS.drop(columns="pathology"), "task 'pathology' needs pathology"),
        (LESIONS.assign(pathology="BENIGN"), "cannot answer the task 'pathology': malignant: 0"),
        (
            LESIONS.assign(pathology=LESIONS["pathology"].str.lower()),
            "found 'malignant' x40, .*; expected BENIGN, MALIGNANT",
        ),
    ],
)
def test_labels_that_are_not_in_order_are_refused(labels, words):
    with pytest.raises(MiramError, match=words):
        ask(simple(), labels)


def test_models_have_to_score_the_same_lesions_and_classes():
    few = simple()[LESIONS["lesion_id"] != FIRST]
    with pytest.raises(MiramError, match=f"model b has no score for lesion {FIRST}, .*1 scores"):
        ask({"a": simple(), "b": few})
    with pytest.raises(MiramError, match="model model has no score for lesion"):
        ask(few, part="official_split=train")
    margins = pd.DataFrame({"OBSCURED": 0.3}, index=LESIONS["lesion_id"]).reset_index()
    both = {"a": margins.assign(SPICULATED=0.5), "b": margins}
    with pytest.raises(MiramError, match=r"model b has no score for .* class 'SPICULATED'"):
        ask(both, task="mass_margins")


def test_probabilities_of_one_answer_have_to_sum_to_one():
    table = pd.DataFrame({name: 0.5 for name in "1234"}, index=LESIONS["lesion_id"]).reset_index()
    with pytest.raises(StatisticsError, match="classes summing to 1"):
        ask(table, task="density")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reference": "theirs"}, "the reference 'theirs' is none of the models: model"),
        ({"compare_by": "auc_macro"}, "no metric 'auc_macro' for a binary task"),
        ({"part": "split=test"}, "no lesion is of the part split=test: the table has the columns"),
        ({"part": "official_split=val"}, "column holds test, train"),
        ({"part": "test"}, "part: String should match"),
        ({"draws": 10}, "draws: .* greater than or equal to 100"),
        ({"refrence": "a"}, r"no setting refrence; did you mean reference\?"),
    ],
)
def test_wrong_questions_are_refused(settings, words):
    with pytest.raises((MiramError, StatisticsError), match=words):
        ask(simple(), **settings)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("bad.parquet", "text", "cannot be read as a table"),
        ("comma.csv", "lesion_id,score\nl1,0,5\n", "more cells than its first line has headings"),
        ("empty.csv", "lesion_id,malignant\n", "has 0 rows"),
        ("semicolons.csv", "lesion_id;malignant\na;0.5\n", "save it as CSV with commas"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(MiramError, match=words):
        read_table(tmp_path / name)


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("\ufefflesion_id,malignant\n007,0.1\n8,0.30000000000000004\n")
    assert read_table(path)["lesion_id"].tolist() == ["007", "8"]
