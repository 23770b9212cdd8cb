from miram.reporting.leaderboard import leaderboard_table


def metrics(auc, brier):
    figures = {
        name: {"estimate": value, "lower": value - 0.1, "upper": value + 0.1}
        for name, value in (("auc", auc), ("brier", brier))
    }
    task = {"lesions": 20, "patients": 9, "figures": figures}
    return {"strategy": "official", "leakage": "drop", "tasks": {"pathology": task}}


def test_the_best_estimate_comes_first_whichever_way_a_figure_is_better():
    table = leaderboard_table({"weak": metrics(0.6, 0.3), "strong": metrics(0.8, 0.1)})
    assert table["figure"].tolist() == ["auc", "auc", "brier", "brier"]
    assert table["method"].tolist() == ["strong", "weak", "strong", "weak"]


def test_every_row_has_an_interval_and_its_numbers():
    table = leaderboard_table({"one": metrics(0.6, 0.3)})
    assert not table[["estimate", "lower", "upper", "lesions", "patients"]].isna().any(axis=None)
    assert set(table["leakage"]) == {"drop"}


def test_a_study_without_a_supported_task_gives_an_empty_table():
    empty = {"strategy": "cv", "leakage": "drop", "tasks": {}}
    table = leaderboard_table({"one": empty})
    assert table.empty
    assert "method" in table
