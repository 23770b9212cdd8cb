import pytest

from miram.errors import MiramError
from miram.reporting.facts.leaderboard import COLUMNS, leaderboard_table


def metrics(auc, brier):
    figures = {
        name: {"estimate": value, "lower": value - 0.1, "upper": value + 0.1}
        for name, value in (("auc", auc), ("brier", brier))
    }
    task = {"lesions": 20, "patients": 9, "metrics": figures}
    split = {"strategy": "official", "leakage": "drop"}
    return {**split, "tasks": {"pathology": task}, "features": {"crops": "abc"}}


def test_the_best_estimate_comes_first_whichever_way_a_figure_is_better():
    table = leaderboard_table({"weak": metrics(0.6, 0.3), "strong": metrics(0.8, 0.1)})
    assert table["metric"].tolist() == ["auc", "auc", "brier", "brier"]
    assert table["method"].tolist() == ["strong", "weak", "strong", "weak"]


def test_every_row_has_an_interval_and_its_numbers():
    table = leaderboard_table({"one": metrics(0.6, 0.3)})
    assert not table[["estimate", "lower", "upper", "lesions", "patients"]].isna().any(axis=None)
    assert set(table["leakage"]) == {"drop"}


def test_a_study_without_a_supported_task_gives_an_empty_table():
    empty = {"strategy": "cv", "leakage": "drop", "tasks": {}}
    table = leaderboard_table({"one": empty})
    assert table.empty
    assert tuple(table) == COLUMNS


def test_figures_of_fine_tuned_encoders_stand_beside_those_of_probes():
    table = leaderboard_table({"mae": metrics(0.6, 0.3)}, {"mae": metrics(0.7, 0.2)})
    auc = table[table["metric"] == "auc"]
    assert auc["method"].tolist() == ["mae", "mae"]
    assert auc["protocol"].tolist() == ["finetuned", "linear"]
    assert auc["estimate"].tolist() == [0.7, 0.6]


def test_every_row_names_the_data_it_is_of():
    reported = metrics(0.6, 0.3)
    unreported = {name: value for name, value in reported.items() if name != "features"}
    table = leaderboard_table({"reported": reported, "unreported": unreported}).set_index("method")
    assert set(table.loc["reported", "data_digest"]) == {"abc"}
    assert table.loc["unreported", "data_digest"].isna().all()


@pytest.mark.parametrize("other", [{"leakage": "official"}, {"strategy": "cv"}])
def test_methods_under_different_splits_are_not_put_into_one_table(other):
    one, another = metrics(0.6, 0.3), {**metrics(0.7, 0.2), **other}
    reported = r"one \(linear\) under official, leakage drop; two \((linear|finetuned)\) under "
    for arguments in (({"one": one, "two": another},), ({"one": one}, {"two": another})):
        with pytest.raises(MiramError, match=reported):
            leaderboard_table(*arguments)
