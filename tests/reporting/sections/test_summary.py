import re
from dataclasses import replace

from miram.reporting.facts.findings import study_findings
from miram.reporting.page import render_report


def first_paragraph(study):
    text = re.search(r'<p class="headline">(.*?)</p>', render_report(study), re.DOTALL)
    return " ".join(re.sub("<[^>]+>", "", text[1]).split()) if text else ""


def test_the_first_sentence_says_with_numbers_what_training_gave(cv_study):
    [finding] = study_findings(cv_study)
    above = finding.outside_noise["above"]
    assert above  # features of miram_nystrom hold the label
    said = first_paragraph(cv_study)
    assert said.startswith("On pathology, training helped: above the untrained encoder in ROC AUC")
    for row in finding.comparisons:
        told = f"{row.method} by {row.difference:.3f} ({row.lower:.3f} to {row.upper:.3f}; p "
        assert (told in said) == (row.method in above)
    assert f"{finding.lesions} lesions of {finding.patients} patients" in said


def test_without_a_difference_it_says_that_none_was_shown(cv_study):
    methods = {name: cv_study.methods["random"] for name in ("random", "mae")}
    board = cv_study.leaderboard[cv_study.leaderboard["method"].isin(methods)]
    said = first_paragraph(replace(cv_study, methods=methods, leaderboard=board))
    assert said.startswith("On pathology, no trained encoder was shown to be above the untrained")


def test_few_patients_get_no_headline(study):
    assert first_paragraph(study) == ""
