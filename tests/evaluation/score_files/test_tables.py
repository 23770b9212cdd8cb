"""Score tables: whose rows are read, and which files are refused with the reason."""

import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients

from miram.errors import MiramError
from miram.evaluation.score_files.evaluate import ExternalConfig, evaluate_scores
from miram.evaluation.score_files.tables import read_table

LESIONS = lesions_of_40_patients()


def table(**columns):
    return pd.DataFrame({"lesion_id": LESIONS["lesion_id"], "score": 0.5, **columns})


def test_a_file_of_one_protocol_is_compared_with_one_of_several():
    finetuned = table(protocol="finetuned")
    probes = pd.concat([table(protocol="linear"), table(protocol="knn", score=0.9)])
    scores = {"finetuned": finetuned, "probe": probes, "peer": table()}
    config = ExternalConfig(draws=100, reference="probe")
    found = evaluate_scores(scores, LESIONS, config)
    used = {name: model.protocol for name, model in found.models.items()}
    assert used == {"finetuned": "finetuned", "probe": "linear", "peer": None}
    assert [row.method for row in found.comparisons] == ["finetuned", "peer"]
    assert set(found.table()["protocol"].dropna()) == {"finetuned", "linear"}
    other = config.model_copy(update={"protocol": "finetuned"})
    with pytest.raises(MiramError, match=r"probe has no .* 'finetuned': it has knn, linear; name"):
        evaluate_scores(scores, LESIONS, other)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("lesion_id;malignant\na;0,5\n", "semicolons"),
        ("lesion_id;malignant\na;0.5\n", "semicolons"),
        ("lesion_id\tscore\na\t0.5\n", "tabs"),
    ],
)
def test_columns_that_are_not_separated_by_commas_are_told(tmp_path, text, word):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(MiramError, match=rf"scores\.csv are separated by {word}: save it with"):
        read_table(path)
