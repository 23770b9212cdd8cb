"""Any model's scores: a study's own metrics come back, and what does not fit is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from miram.errors import MiramError
from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.fold_features import WHOLE
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.score_files.evaluate import ExternalConfig, evaluate_scores
from miram.evaluation.score_files.tables import read_table, split_methods
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


def ask(scores, labels=LESIONS, *, own_task=None, **settings):
    config = ExternalConfig.model_validate({"draws": DRAWS, "seed": SEED, **settings})
    scores = scores if isinstance(scores, dict) else {"model": scores}
    return evaluate_scores(scores, labels, config, task=own_task)


def compute_metrics(found, model="model"):
    fields = ("estimate", "lower", "upper", "undefined_draws")
    return {
        name: {field: getattr(interval, field) for field in fields}
        for name, interval in found.models[model].metrics.items()
    }


def area_within_folds(table):
    """Share of pairs of a fold that are ranked right, by scikit-learn."""
    rows = table.query("task == 'pathology' and `class` == 'malignant'")
    counts, areas = [], []
    for _, here in rows.groupby("fold"):
        counts.append(here["label"].sum() * (1 - here["label"]).sum())
        areas.append(roc_auc_score(here["label"], here["score"]))
    return np.average(areas, weights=counts)


def own_metrics(metrics, task):
    fields = ("estimate", "lower", "upper", "undefined_draws")
    metrics = metrics["tasks"][task]["metrics"]
    return {name: {field: values[field] for field in fields} for name, values in metrics.items()}


def wide(predictions, task):
    """One row per lesion, in an order of its own, as other programs write it."""
    rows = predictions[predictions["task"] == task]
    rows = rows[rows["protocol"] == "linear"] if "protocol" in rows else rows
    keys = ["lesion_id", "fold"]  # what a cross-validated model has to tell besides
    table = rows.pivot(index=keys, columns="class", values="score").reset_index()
    return table.sample(frac=1, random_state=0)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strategy", ["official", "cv"])
def test_predictions_of_a_study_give_its_own_metrics(studies, strategy, task):
    metrics, predictions = studies[strategy].metrics, studies[strategy].predictions
    expected = metrics["tasks"][task]
    for table in (predictions, wide(predictions, task)):
        found = ask(table, task=task)
        assert compute_metrics(found) == own_metrics(metrics, task)
        assert (found.kind, list(found.classes)) == (expected["kind"], expected["classes"])
        assert (found.lesions, found.patients) == (expected["lesions"], expected["patients"])


def test_the_scores_of_one_protocol_are_taken_where_there_are_several(studies):
    task, linear = "pathology", studies["cv"].predictions.query("task == 'pathology'")
    table = pd.concat([linear.assign(protocol="linear", score=0.5), linear.assign(protocol="knn")])
    assert compute_metrics(ask(table, protocol="knn")) == own_metrics(studies["cv"].metrics, task)
    assert ask(table).models["model"].metrics["auc"].estimate == 0.5
    with pytest.raises(MiramError, match="no scores for the protocol 'mae_probe': it has knn, li"):
        ask(table, protocol="mae_probe")


@pytest.mark.parametrize("task", ["pathology", "pathology4"])
def test_trainings_with_several_seeds_are_one_model_with_its_mean(task):
    own = [study("cv", seed=seed, tasks=(task,)).predictions for seed in (1, 2)]
    tables = [table.assign(seed=seed) for seed, table in enumerate(own)]
    found = ask(pd.concat(tables), task=task)
    alone = [compute_metrics(ask(table, task=task)) for table in own]
    assert list(found.models) == ["model"]
    for name, metric in compute_metrics(found).items():
        expected = np.mean([one[name]["estimate"] for one in alone])
        assert metric["estimate"] == pytest.approx(expected)
    compared = ask({"ours": pd.concat(tables), "theirs": own[0]}, task=task, reference="theirs")
    assert compared.models["ours"].delong is None
    assert compared.comparisons[0].draws == DRAWS


def test_means_over_trainings_are_told_with_their_spread(studies):
    trainings = [study("cv", seed=seed).predictions for seed in (1, 2)]
    several = pd.concat([table.assign(seed=seed) for seed, table in enumerate(trainings)])
    found = ask({"several": several, "one": studies["cv"].predictions}, reference="several")
    areas = [ask(table).models["model"].metrics["auc"].estimate for table in trainings]
    model, one = found.models["several"], found.models["one"]
    assert (model.seeds, one.seeds) == (2, 1)
    assert model.seed_deviation["auc"] == pytest.approx(np.std(areas, ddof=1))
    assert set(one.seed_deviation.values()) == {None}
    (row,) = found.comparisons
    assert (row.seeds, row.reference_seeds) == (1, 2)
    table = found.table().set_index(["method", "metric"])
    assert table.loc[("several", "auc"), "seeds"] == 2
    assert table.loc[("several", "auc"), "seed_deviation"] == model.seed_deviation["auc"]
    assert found.plain()["models"]["several"]["seeds"] == 2


def test_a_score_of_no_training_is_refused(studies):
    predictions = studies["cv"].predictions.copy()
    predictions["seed"] = predictions["seed"].astype(float)
    predictions.loc[predictions.index[3], "seed"] = np.nan
    with pytest.raises(MiramError, match=r"seed is empty in row \d+"):
        ask(predictions)


@pytest.mark.parametrize("task", TASKS)
def test_a_csv_on_the_way_changes_no_digit(studies, task, tmp_path):
    path, labels = tmp_path / "scores.csv", tmp_path / "labels.csv"
    wide(studies["cv"].predictions, task).to_csv(path, index=False)
    joined = LESIONS["mass_margins"].map(lambda names: "-".join(names or []))
    LESIONS.assign(mass_margins=joined).to_csv(labels, index=False)
    found = ask(read_table(path), read_table(labels), task=task)
    assert compute_metrics(found) == own_metrics(studies["cv"].metrics, task)


def test_the_constant_answer_stands_beside_the_models(studies):
    for task in ("pathology", "pathology4", "density"):
        found = ask(studies["cv"].predictions, task=task)
        assert found.majority.estimate == studies["cv"].metrics["tasks"][task]["majority"]
        assert found.majority.lower < found.majority.estimate < found.majority.upper
        assert found.majority_answer in found.classes


def test_models_are_compared_in_pairs_with_holm_and_delong(studies):
    strong, weak = study("cv", 3.0).predictions, study("cv", 0.0, seed=2).predictions
    models = {"ours": studies["cv"].predictions, "strong": strong, "weak": weak}
    found = ask(models, reference="ours")
    assert [row.method for row in found.comparisons] == ["strong", "weak"]
    for row in found.comparisons:
        expected = area_within_folds(models[row.method]) - area_within_folds(models["ours"])
        assert row.difference == pytest.approx(expected, abs=1e-12)
        assert row.p_holm >= row.p_value
        test = found.models[row.method].delong_test
        assert test.difference == pytest.approx(expected, abs=1e-12)
        assert test.standard_error == pytest.approx((row.upper - row.lower) / 3.92, rel=0.35)
    assert found.comparisons[0].difference > 0 > found.comparisons[1].difference
    assert found.models["ours"].delong_test is None
    assert found.models["ours"].delong.auc == pytest.approx(
        found.models["ours"].metrics["auc"].estimate
    )


def test_models_can_be_compared_by_accuracy_as_the_paper_does(studies):
    models = {"a": studies["cv"].predictions, "b": study("cv", 3.0, tasks=TASKS[1:2]).predictions}
    found = ask(models, task="pathology4", reference="a", compare_by="accuracy")
    gain = found.models["b"].metrics["accuracy"].estimate
    gain -= found.models["a"].metrics["accuracy"].estimate
    assert found.comparisons[0].difference == pytest.approx(gain)
    assert found.models["b"].delong is None and found.models["b"].delong_test is None


def test_the_table_holds_every_metric_with_n_and_interval_and_the_tests_once(studies):
    models = {"a": studies["cv"].predictions, "b": study("cv", 3.0).predictions}
    table = ask(models, reference="a").table()
    assert len(table) == 2 * table["metric"].nunique()
    assert table[["estimate", "lower", "upper", "lesions", "patients"]].notna().all().all()
    tested = table[table["p_holm"].notna()]
    assert list(zip(tested["method"], tested["metric"], strict=True)) == [("b", "auc")]
    assert tested["reference"].tolist() == ["a"] and tested["delong_p"].notna().all()


def test_json_is_strict_and_says_the_same(studies):
    found = ask(studies["cv"].predictions)
    read = json.loads(json.dumps(found.plain(), allow_nan=False))
    area = read["models"]["model"]["metrics"]["auc"]
    assert area["estimate"] == found.models["model"].metrics["auc"].estimate
    assert read["config"]["draws"] == DRAWS and read["patients"] == found.patients


def simple(**columns):
    return pd.DataFrame({"lesion_id": LESIONS["lesion_id"], "malignant": 0.5, **columns})


def test_class_names_forgive_case_blanks_and_underscores():
    random = np.random.default_rng(0).dirichlet(np.ones(4), len(LESIONS))
    names = ["Benign_Mass", "MALIGNANT mass", "benign  calc", "malignant_calc"]
    table = pd.DataFrame(random, columns=names).assign(lesion_id=LESIONS["lesion_id"])
    assert len(ask(table, task="pathology4").classes) == 4
    alone = simple().rename(columns={"malignant": "score"})
    assert ask(alone).models["model"].metrics["auc"].estimate == 0.5


def test_both_scores_of_a_binary_answer_are_as_good_as_one():
    scores = np.random.default_rng(0).random(len(LESIONS))
    one = ask(simple(malignant=scores))
    two = ask(simple(malignant=scores, benign=1 - scores))
    assert one.models == two.models


def test_a_part_of_the_labels_is_judged_whole_and_the_rest_is_counted():
    found = ask(simple(), part="official_split=test")
    test = int(LESIONS["official_split"].eq("test").sum())
    assert found.lesions == test
    (row,) = found.skipped
    assert row.lesions == len(LESIONS) - test
    assert row.reason == "scored, but not in official_split=test"
    few = simple().merge(LESIONS.loc[LESIONS["official_split"] == "test", ["lesion_id"]])
    alone = ask(few, part="official_split=test")
    assert alone.models == found.models and alone.unscored == len(LESIONS) - test


def test_lesions_that_cannot_answer_are_left_out_with_the_reason():
    scores = np.full((len(LESIONS), 4), 0.25)
    table = pd.DataFrame(scores, columns=list("1234")).assign(lesion_id=LESIONS["lesion_id"])
    found = ask(table, task="density")
    assert found.lesions == len(LESIONS) - 1
    assert [(row.lesions, row.reason) for row in found.skipped] == [(1, "density is missing")]
    dropped = ask(simple(), without_callback="drop")
    assert dropped.lesions == LESIONS["pathology"].ne("BENIGN_WITHOUT_CALLBACK").sum()


def test_wrong_spellings_of_labels_are_shown():
    spelled = LESIONS["pathology"].astype(object)
    with pytest.raises(MiramError, match=r"found 'malignant' x40, .*; expected BENIGN, MALIGNANT"):
        ask(simple(), LESIONS.assign(pathology=spelled.str.lower()))
    some = spelled.where(np.arange(len(spelled)) >= 3, "UNPROVEN")
    (row,) = ask(simple(), LESIONS.assign(pathology=some)).skipped
    assert row.lesions == 3 and "found 'UNPROVEN' x3; expected BENIGN, MALIGNANT" in row.reason


def test_a_label_that_no_model_scores_is_left_out_and_said():
    names = ["CIRCUMSCRIBED", "SPICULATED"]
    table = pd.DataFrame({name: 0.3 for name in names}, index=LESIONS["lesion_id"]).reset_index()
    found = ask(table, task="mass_margins")
    assert found.classes == tuple(names)
    assert ("class OBSCURED", "no model scores it") in {
        (row.what, row.reason) for row in found.skipped
    }


def test_a_task_of_ones_own_can_be_asked():
    labels = LESIONS.assign(grade=["3" if i % 3 else "1" for i in range(len(LESIONS))])
    task = TaskConfig(name="grade", kind="binary", column="grade", positive=("3",))
    table = simple().rename(columns={"malignant": "3"})
    assert ask(table, labels, own_task=task).classes == ("not 3", "3")


def test_a_task_that_names_no_classes_has_those_of_the_labels():
    labels = LESIONS.assign(grade=[str(i % 3 + 1) for i in range(len(LESIONS))])
    table = simple(**{"1": 0.5, "2": 0.3, "3": 0.2}).drop(columns="malignant")
    task = TaskConfig(name="grade", kind="single", column="grade")
    assert ask(table, labels, own_task=task).classes == ("1", "2", "3")


def test_one_file_of_several_models_is_taken_apart():
    table = pd.concat([simple(method="a"), simple(method="b")])
    models = split_methods(table, "file", "scores.csv")
    assert list(models) == ["a", "b"]
    assert ask(models).models["a"] == ask(simple()).models["model"]
    with pytest.raises(MiramError, match=r"scores\.csv: method is empty in row 1"):
        split_methods(table.assign(method=None), "file", "scores.csv")


def without(table, lesion):
    return table[table["lesion_id"] != lesion]


def changed(value, row=3):
    scores = np.full(len(LESIONS), 0.5, dtype=object)
    scores[row] = value
    return simple(malignant=scores)


LONG = simple().rename(columns={"malignant": "score"}).assign(**{"class": "malignant"})
FIRST, THIRD = LESIONS["lesion_id"].iloc[0], LESIONS["lesion_id"].iloc[3]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (changed(np.nan), f"score of lesion {THIRD} for 'malignant' is missing"),
        (changed(1.2), f"score of lesion {THIRD} for 'malignant' is 1.2"),
        (changed(-0.1), "is -0.1 .1 such scores.: give a probability"),
        (changed("high"), f"the malignant of lesion {THIRD} is 'high', which is no number"),
        (pd.concat([simple(), simple().head(1)]), f"scores lesion {FIRST} twice"),
        (pd.concat([LONG, LONG.head(1)]), f"scores lesion {FIRST} for 'malignant' twice"),
        (LONG.drop(columns="score"), "a column class but no column score"),
        (LONG.assign(**{"class": "cancer"}), "the unknown class 'cancer'"),
        (LONG.assign(**{"class": "benign"}), "no scores for 'malignant'"),
        (LONG.assign(task="density"), "no scores for the task 'pathology': it has density"),
        (simple(cancer=0.5), "the unknown class 'cancer': name the columns"),
        (simple(MALIGNANT=0.5), "two columns for the class 'malignant'"),
        (simple(benign=0.7), "sum to 1.2"),
        (simple()[["lesion_id"]], "has no scores"),
        (simple().rename(columns={"lesion_id": "id"}), "no column lesion_id"),
        (simple().assign(lesion_id=None), "lesion_id is empty in row 1"),
        (simple().assign(lesion_id=LESIONS["image_id"]), "scores lesion 0.CC .80 such lesions"),
        (LONG.assign(label=1), "says that the label of lesion P_00000_CC for 'malignant' is 1"),
    ],
)
def test_scores_that_are_not_in_order_are_refused(table, words):
    with pytest.raises(MiramError, match=words):
        ask(table)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pd.concat([LESIONS, LESIONS.head(2)]), f"lesion {FIRST} has several rows .2 lesions"),
        (LESIONS.drop(columns="patient_id"), "no column patient_id .the unit of the intervals"),
        (LESIONS.assign(patient_id=None), "patient_id is empty in row 1"),
        (LESIONS.drop(columns="pathology"), "task 'pathology' needs pathology"),
        (LESIONS.assign(pathology="BENIGN"), "cannot answer the task 'pathology': malignant: 0"),
    ],
)
def test_labels_that_are_not_in_order_are_refused(labels, words):
    with pytest.raises(MiramError, match=words):
        ask(simple(), labels)


def test_models_have_to_score_the_same_lesions_and_classes():
    with pytest.raises(MiramError, match=f"model b has no score for lesion {FIRST} .1 of 80"):
        ask({"a": simple(), "b": without(simple(), FIRST)})
    with pytest.raises(MiramError, match="model model has no score for lesion"):
        ask(without(simple(), LESIONS["lesion_id"].iloc[-1]), part="official_split=train")
    margins = pd.DataFrame({"OBSCURED": 0.3}, index=LESIONS["lesion_id"]).reset_index()
    both = {"a": margins.assign(SPICULATED=0.5), "b": margins}
    with pytest.raises(MiramError, match="model b has no scores for the class 'SPICULATED'"):
        ask(both, task="mass_margins")


def test_probabilities_of_one_answer_have_to_sum_to_one():
    table = pd.DataFrame({name: 0.5 for name in "1234"}, index=LESIONS["lesion_id"]).reset_index()
    with pytest.raises(MiramError, match="sum to 2 over 1, 2, 3, 4"):
        ask(table, task="density")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "cancer"}, "unknown task 'cancer': choose among pathology4"),
        ({"reference": "theirs"}, "the reference 'theirs' is none of the models: model"),
        ({"compare_by": "auc_macro"}, "cannot be compared by 'auc_macro' on the binary task"),
        ({"part": "split=test"}, "has no column split"),
        ({"part": "official_split=val"}, "no lesion of the label table has it"),
        ({"part": "test"}, "part: String should match"),
        ({"draws": 10}, "draws: .* greater than or equal to 100"),
        ({"refrence": "a"}, r"no setting refrence; did you mean reference\?"),
    ],
)
def test_wrong_questions_are_told(settings, words):
    with pytest.raises(MiramError, match=words):
        ask(simple(), **settings)


def test_files_that_are_no_tables_are_told(tmp_path):
    with pytest.raises(MiramError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_text("text")
    with pytest.raises(MiramError, match="cannot be read as a table"):
        read_table(tmp_path / "bad.parquet")
    (tmp_path / "empty.csv").write_text("lesion_id,malignant\n")
    with pytest.raises(MiramError, match="has no rows"):
        read_table(tmp_path / "empty.csv")


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("\ufefflesion_id,malignant\n007,0.1\n8,0.30000000000000004\n")
    table = read_table(path)
    assert table["lesion_id"].tolist() == ["007", "8"]
    assert table["malignant"].tolist() == [0.1, 0.30000000000000004]
