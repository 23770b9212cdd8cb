"""The checklist asks everything, answers what the study knows, and claims nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import pytest
from reports import with_parameters

from miram.reporting.cards import ClaimItem, Status, _item, claim_checklist, claim_markdown
from miram.reporting.facts.study import Study

MakeStudy = Callable[..., Study]
SECTIONS = {  # as published, with the number of items
    "Title": 1,
    "Abstract": 1,
    "Introduction": 2,
    "Methods: study design": 2,
    "Methods: data": 7,
    "Methods: reference standard": 5,
    "Methods: data partitions": 2,
    "Methods: testing data": 1,
    "Methods: model": 3,
    "Methods: training": 3,
    "Methods: evaluation": 7,
    "Results: data": 2,
    "Results: model performance": 3,
    "Discussion": 2,
    "Other information": 3,
}
SOURCES = ["phantom", "cbis_ddsm", "dicom_folder", "image_table", None]
# Title, abstract, aims, sample size, registration, failures, discussion, protocol, funding.
AUTHORS = {1, 2, 3, 4, 6, 21, 30, 33, 34, 39, 40, 41, 42, 43, 44}


def filled(study: Study) -> dict[int, ClaimItem]:
    return {item.number: item for item in claim_checklist(study)}


def test_all_44_items_are_there_once_in_their_sections(study: Study) -> None:
    items = claim_checklist(study)
    assert [item.number for item in items] == list(range(1, 45))
    sections = {name: len(list(part)) for name, part in groupby(items, lambda item: item.section)}
    assert sections == SECTIONS
    assert len({item.asks for item in items}) == 44


@pytest.mark.parametrize("source", SOURCES)
def test_no_status_comes_with_an_empty_text(study: Study, source: str | None) -> None:
    for item in claim_checklist(with_parameters(study, source=source)):
        if item.status is Status.AUTHOR:
            assert item.left.strip(), item
        else:
            assert item.answer.strip(), item
            assert not item.left, item


def test_an_answer_cannot_be_made_without_a_text() -> None:
    with pytest.raises(ValueError, match=r"item 7 .* empty text"):
        _item(7, "Title", "asks", known=" ", add="\n")
    with pytest.raises(ValueError, match="not applicable, and has an answer"):
        _item(7, "Title", "asks", known="known", not_applicable="no patients")


@pytest.mark.parametrize("source", SOURCES)
def test_what_only_an_author_knows_is_left_to_the_author(study: Study, source: str | None) -> None:
    items = filled(with_parameters(study, source=source))
    assert {number for number in AUTHORS if items[number].status is not Status.AUTHOR} == set()


@pytest.mark.parametrize("source", SOURCES[1:])
def test_of_real_patients_ethics_acquisition_and_reference_are_left_to_the_author(
    study: Study, source: str | None
) -> None:
    items = filled(with_parameters(study, source=source))
    for number in (7, 8, 11, 13, 14, 15, 16, 17, 18, 35, 36):
        assert items[number].status is Status.AUTHOR, items[number]
    assert "ethics" in items[11].left
    assert "synthetic" not in " ".join(item.answer for item in items.values()).lower()


def test_a_phantom_has_no_patients_to_describe(study: Study) -> None:
    items = filled(study)
    for number in (5, 11, 13, 15, 16, 17, 18):
        assert items[number].status is Status.NOT_APPLICABLE
        assert items[number].answer.startswith("The images are synthetic")


def test_only_published_data_make_a_study_retrospective(study: Study) -> None:
    known = filled(with_parameters(study, source="cbis_ddsm"))[5]
    unknown = filled(with_parameters(study, source="dicom_folder"))[5]
    assert (known.status, unknown.status) == (Status.ANSWERED, Status.AUTHOR)
    assert "Retrospective" in known.answer


def test_answers_follow_the_leakage_policy(study: Study, leaking_study: Study) -> None:
    dropped, kept = filled(study), filled(leaking_study)
    assert dropped[20].answer.startswith("Patient: none is in two partitions")
    assert "1 training lesion of 1 patient" in dropped[19].answer
    assert kept[20].answer.startswith("Not by patient: 1 patient in two partitions")
    assert "took part in training" in kept[19].answer
    assert "In training and in test at once: 1 patient" in kept[40].answer
    assert "In training and in test" not in dropped[40].answer


def test_cross_validation_admits_that_pretraining_saw_all_images(
    study: Study, cv_study: Study
) -> None:
    reported = "images of 32 of the 32 evaluated patients"
    folds, official = filled(cv_study), filled(study)
    assert reported in folds[20].answer
    assert "4 folds by patient" in folds[19].answer
    assert "images, not labels, of 32 of the 32" in folds[32].answer
    assert reported not in official[20].answer
    assert "saw no image of any patient" in official[32].answer


def test_answers_follow_the_number_of_patients(study: Study) -> None:
    manifest = study.crops.manifest
    fewer = manifest[manifest["patient_id"] != "P_00001"].reset_index(drop=True)
    smaller = replace(study, crops=replace(study.crops, manifest=fewer))
    whole, part = filled(study), filled(smaller)
    for number in (7, 8, 35):
        assert "64 lesions" in whole[number].answer
        assert "of 32 patients" in whole[number].answer
        assert "62 lesions" in part[number].answer
        assert "of 31 patients" in part[number].answer
    assert study.crops.digest in whole[7].answer


def test_partitions_are_described_by_their_numbers_and_labels(study: Study) -> None:
    answer = filled(study)[36].answer
    joined = study.splits[["lesion_id", "split"]].merge(study.lesions, on="lesion_id")
    test = joined[joined["split"] == "test"]
    counts = test["pathology"].value_counts()
    assert (
        f"test: {len(test)} lesions of {test['patient_id'].nunique()} patients; pathology: "
        f"BENIGN ({counts['BENIGN']}), MALIGNANT ({counts['MALIGNANT']})"
    ) in answer


def test_missing_values_are_counted(study: Study) -> None:
    assert "pathology" not in filled(study)[12].answer.split("Left out")[0]
    lesions = study.lesions.copy()
    lesions.loc[:2, "pathology"] = None
    answer = filled(replace(study, lesions=lesions))[12].answer
    assert "pathology 3 of 64" in answer
    masses = int((lesions["abnormality_type"] == "mass").sum())
    assert f"mass_shape {masses} of {masses}" in answer


def test_every_method_is_reported_with_its_interval_and_numbers(study: Study) -> None:
    items = filled(study)
    for figure, number in (("auc", 37), ("sensitivity_at_90_specificity", 38)):
        board = study.leaderboard[study.leaderboard["metric"] == figure]
        assert len(board) == len(study.methods)
        for row in board.itertuples():
            reported = f"{row.method} {row.estimate:.3f} ({row.lower:.3f} to {row.upper:.3f})"
            assert reported in items[number].answer
        numbers = f"on {row.lesions} lesions of {row.patients} patients"
        assert numbers in items[number].answer


def test_without_a_task_no_metric_is_claimed(unanswered_study: Study) -> None:
    items = filled(unanswered_study)
    assert {items[number].status for number in (28, 37, 38)} == {Status.AUTHOR}
    assert "density" in items[12].answer


def test_settings_that_are_unknown_are_left_to_the_author(study: Study) -> None:
    unreported = filled(study)
    assert {unreported[number].status for number in (24, 25)} == {Status.AUTHOR}
    reported = filled(with_parameters(study, training={"seed": 7, "epochs": 3}))
    assert "seed 7" in reported[24].answer
    assert "epochs 3" in reported[25].answer
    assert {reported[number].status for number in (24, 25)} == {Status.ANSWERED}
    empty = filled(with_parameters(study, encoder={}))
    assert empty[22].status is Status.AUTHOR


def test_several_seeds_are_reported_where_the_checklist_asks(study: Study, seeded: Study) -> None:
    one, several = filled(study), filled(seeded)
    assert "each method once with every one of the seeds 5, 7" in several[24].answer
    assert "it is that of the first seed" in several[26].answer
    assert "first seed" not in one[26].answer
    assert "each computed from its own scores" in several[27].answer
    assert "and the seed: metrics are means over 2 seeds" in several[30].answer
    assert "The seed was not varied" in one[30].answer
    for number in (29, 40):
        assert "Metrics are means over 2 seeds" in several[number].answer
        assert "one training at most" in one[number].answer
    assert "mae, seed 7: 1 epochs, 5 steps" in several[25].answer


def test_initial_weights_are_named_without_their_folder(study: Study) -> None:
    start = {"seed": 0, "initialization": {"checkpoint": "/home/somebody/start.bin"}}
    items = filled(with_parameters(study, training=start))
    assert items[24].answer.startswith("From a checkpoint")
    assert "somebody" not in " ".join(item.answer for item in items.values())


def test_averages_are_reported(study: Study) -> None:
    assert filled(study)[27].status is Status.NOT_APPLICABLE
    averaged = filled(with_parameters(study, features={"symmetries": 8}))
    assert averaged[27].status is Status.ANSWERED
    moving = filled(with_parameters(study, training={"seed": 0, "ema_decay": 0.99}))
    assert "moving averages" in moving[26].answer


def test_comparisons_are_reported_where_there_are_any(study: Study, without_random: Study) -> None:
    assert "compared with random by a paired bootstrap" in filled(study)[29].answer
    assert "Comparisons are corrected" in filled(study)[40].answer
    assert "compared with" not in filled(without_random)[29].answer
    assert "Comparisons are corrected" not in filled(without_random)[40].answer
    evaluation = {"comparison": {"reference": "mae"}, "bootstrap_draws": 100}
    assert "compared with mae" in filled(with_parameters(study, evaluation=evaluation))[29].answer


def test_markdown_shows_every_item_and_lets_no_name_become_markup(make_study: MakeStudy) -> None:
    hostile = make_study(hostile="|<script>x</script>")
    items = claim_checklist(with_parameters(hostile, source="a|b<img src=x>"))
    text = claim_markdown(items)
    lines = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    assert [int(line.split("|")[1]) for line in lines] == list(range(1, 45))
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {7}
    assert not re.search(r"(?<!\\)<", text)
    for item, line in zip(items, lines, strict=True):
        assert f"| {item.status} |" in line
        assert ("**To add:**" in line) == (item.status is Status.AUTHOR)
