"""The card says what the study knows, hubs can read it, and its code runs."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from reports import with_parameters
from sklearn.metrics import roc_auc_score

from miram.errors import MiramError
from miram.evaluation.features.extract import extract_features
from miram.evaluation.features.pooling import FeatureConfig
from miram.evaluation.predictions import subgroup_metrics
from miram.models.attention import HaloConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds
from miram.models.encoder import EncoderConfig
from miram.models.export.timm_folder import export_timm
from miram.models.methods.backbone import TimmBackboneConfig
from miram.reporting.cards import card_data, model_card
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.page import render_report

MakeStudy = Callable[..., Study]
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"embed_dim": 32, "depth": 2, "num_heads": 2},
)
BACKBONE = {"kind": "timm_backbone", "name": "resnet10t", "image_size": 32}


def with_metrics(study: Study, method: str, metrics: dict[str, Any]) -> Study:
    result: MethodResult = replace(study.methods[method], metrics=metrics)
    return replace(study, methods={**study.methods, method: result})


def head(card: str) -> Any:
    """What a hub reads of a card."""
    return ModelCard(card).data


def sentences(card: str) -> str:
    """The text of a card without its head, in one line."""
    return " ".join(ModelCard(card).text.split())


def rows(card: str) -> list[list[str]]:
    """Cells of all rows of all tables."""
    lines = [line for line in card.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(card: str) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return found


def test_hubs_read_every_metric_with_its_interval_and_its_numbers(study: Study) -> None:
    data = head(model_card(study, "mae"))
    (task,) = study.methods["mae"].metrics["tasks"].values()
    found = {(r.metric_value, *r.metric_args["interval"]): r.metric_args for r in data.eval_results}
    assert set(found) == {
        (values["estimate"], values["lower"], values["upper"])
        for values in task["metrics"].values()
    }
    for result in data.eval_results:
        assert result.metric_args["lesions"] == task["lesions"]
        assert result.metric_args["patients"] == task["patients"]
        assert result.dataset_revision == study.crops.digest
        assert result.dataset_split == "test"
    assert data.library_name == "timm"
    assert "self-supervised" in data.tags


def test_means_over_runs_are_reported_with_their_spread(study: Study, seeded: Study) -> None:
    card, one = model_card(seeded, "mae"), model_card(study, "mae")
    figures = seeded.methods["mae"].metrics["tasks"]["pathology"]["metrics"]
    spread = figures["auc"]["seed_deviation"]
    assert spread > 0
    assert f"{spread:.3f}" in next(row for row in rows(card) if row[0] == "ROC AUC")[3]
    assert "draws. Metrics are means over 2 seeds." in sentences(card)
    assert "2 runs, each with its own seed; these" in sentences(card)
    assert "The encoder file holds one encoder per seed" in sentences(card)
    area = next(r for r in head(card).eval_results if r.metric_type == "roc_auc")
    assert (area.metric_args["seeds"], area.metric_args["seed_deviation"]) == (2, spread)
    for text in ("over 2 seeds", "encoder per seed", "SD over seeds", "own seed"):
        assert text not in one
    assert "One run; these" in sentences(one)


def test_several_tasks_stay_apart_in_the_head(four_class_study: Study) -> None:
    metrics = four_class_study.methods["mae"].metrics
    (first,) = metrics["tasks"].values()
    tasks = {"pathology4": first, "again": {**first, "lesions": 7}}
    results = card_data(with_metrics(four_class_study, "mae", {**metrics, "tasks": tasks}), "mae")
    found = head(f"---\n{results.to_yaml()}\n---\n").eval_results
    for task, facts in tasks.items():
        here = [r for r in found if r.dataset_config == task]
        assert len(here) == len(first["metrics"])
        assert {r.metric_args["lesions"] for r in here} == {facts["lesions"]}
        assert {r.task_name for r in here} == {f"linear probe: {task}"}
        assert {r.dataset_split for r in here} == {"cross-validation, 4 folds"}


def test_every_class_is_reported_with_its_numbers(four_class_study: Study) -> None:
    found = rows(model_card(four_class_study, "mae"))
    for row in four_class_study.methods["mae"].metrics["tasks"]["pathology4"]["per_class"]:
        area = row["metrics"]["auc"]
        cells = [row["class"], str(row["lesions"]), str(row["patients"])]
        ends = f"{area['lower']:.3f} to {area['upper']:.3f}"
        assert [*cells, f"{area['estimate']:.3f}", ends] in found


def test_an_undefined_metric_is_reported_in_the_text_alone(study: Study) -> None:
    metrics = study.methods["mae"].metrics
    task = metrics["tasks"]["pathology"]
    unknown = {**task["metrics"]["brier"], "estimate": float("nan")}
    task = {**task, "metrics": {**task["metrics"], "brier": unknown}}
    card = model_card(with_metrics(study, "mae", {**metrics, "tasks": {"pathology": task}}), "mae")
    assert ["Brier score", "not defined"] in [row[:2] for row in rows(card)]
    assert "brier_score" not in {r.metric_type for r in head(card).eval_results}


def test_every_metric_is_in_the_text_with_its_interval(study: Study) -> None:
    card = model_card(study, "miram_nystrom")
    board = study.leaderboard
    own = board[board["method"] == "miram_nystrom"]
    for row in own.itertuples():
        cells = [f"{row.estimate:.3f}", f"{row.lower:.3f} to {row.upper:.3f}"]
        assert cells in [found[1:3] for found in rows(card)], row
    lesions, patients = own["lesions"].iloc[0], own["patients"].iloc[0]
    assert f"Evaluated on {lesions} lesions of {patients} patients" in sentences(card)


def test_the_untrained_encoder_appears_beside_the_trained_one(study: Study) -> None:
    board = study.leaderboard
    untrained = board[(board["method"] == "random") & (board["metric"] == "auc")].iloc[0]
    assert ["random", f"{untrained['estimate']:.3f}"] in [
        row[:2] for row in rows(model_card(study, "mae"))
    ]


def test_sections_are_complete(study: Study) -> None:
    heads = re.findall(r"^## (.+)$", model_card(study, "mae"), re.MULTILINE)
    assert heads == [
        "What it is",
        "Intended use",
        "Training data",
        "How it was trained",
        "Evaluation",
        "Limits",
        "How to load it",
        "Environment",
        "Citation",
    ]


def test_data_are_described_by_digest_and_numbers(study: Study) -> None:
    text = sentences(model_card(study, "mae"))
    assert f"Data version `{study.crops.digest}`" in text
    assert "64 lesions in 64 mammograms of 32 patients" in text
    seen = study.splits[study.splits["pretrain"]]
    assert f"{len(seen)} lesion crops and 0 background patches" in text
    assert f"of {seen['patient_id'].nunique()} patients, without labels" in text


def test_leakage_policy_is_described_by_what_it_did(study: Study, leaking_study: Study) -> None:
    assert "1 training lesion of 1 patient in both parts of the official split were left out" in (
        sentences(model_card(study, "mae"))
    )
    leaking = sentences(model_card(leaking_study, "mae"))
    assert "1 patient with test lesions took part in training, which biases" in leaking
    assert "Pretraining saw images, not labels, of 1 of the 16 patients" in leaking


def test_cross_validation_admits_that_pretraining_saw_all_images(four_class_study: Study) -> None:
    reported = "Pretraining saw images, not labels, of 32 of the 32 patients"
    assert reported in sentences(model_card(four_class_study, "mae"))
    assert reported not in sentences(model_card(four_class_study, "random"))


def test_an_untrained_encoder_is_not_called_trained(study: Study) -> None:
    card = model_card(study, "random")
    assert "Nothing was trained on these data" in sentences(card)
    assert "## Training data" not in card
    assert not {"supervised", "self-supervised"} & set(head(card).tags)


def test_research_use_and_synthetic_data_are_declared(study: Study) -> None:
    text = sentences(model_card(study, "mae"))
    assert "not a medical device" in text
    assert "no metric has a clinical meaning" in text
    assert "synthetic-data" in head(model_card(study, "mae")).tags


def test_a_data_set_is_cited_with_its_terms(study: Study) -> None:
    card = model_card(with_parameters(study, source="cbis_ddsm"), "mae")
    text, data = sentences(card), head(card)
    assert "10.7937/K9/TCIA.2016.7O02S9CY" in text
    assert "CC BY 3.0" in text
    assert (data.license, data.license_link) == (
        "other",
        "https://creativecommons.org/licenses/by/3.0/",
    )
    assert "synthetic" not in text.lower()


@pytest.mark.parametrize("source", ["dicom_folder", None])
def test_of_unknown_data_nothing_is_claimed(study: Study, source: str | None) -> None:
    card = model_card(with_parameters(study, source=source), "mae")
    assert "Origin: not known to the software" in sentences(card)
    assert "Terms of the data: not known to the software" in sentences(card)
    assert head(card).license == "unknown"


def test_subgroups_are_those_of_the_lesion_table(study: Study) -> None:
    found = study.methods["mae"].predictions.merge(
        study.lesions[["lesion_id", "abnormality_type"]], on="lesion_id"
    )
    part = found[found["abnormality_type"] == "mass"]
    area = roc_auc_score(part["label"], part["score"])
    assert len(part) > part["patient_id"].nunique()
    result = study.methods["mae"]
    table = subgroup_metrics(result.predictions, study.lesions, result.metrics, study.assessment)
    methods = {"mae": replace(result, subgroups=table)}
    own = ["abnormality_type", "mass"]
    card = model_card(replace(study, methods=methods), "mae")
    (row,) = [row for row in rows(card) if row[:2] == own]
    assert row[2:5] == [str(len(part)), str(part["patient_id"].nunique()), f"{area:.3f}"]
    assert row[6] == "too few"


def test_without_subgroups_none_are_mentioned(study: Study) -> None:
    assert "Subgroups" not in model_card(study, "mae")


def test_names_from_the_data_cannot_become_markup(make_study: MakeStudy) -> None:
    study = make_study(hostile="|<script>x</script>[a](b)")
    metrics = study.methods["mae"].metrics
    skipped = [{"task": "a|b", "what": "<b>", "lesions": 1, "reason": "[x](y)\n| z"}]
    study = with_metrics(study, "mae", {**metrics, "skipped": skipped})
    card = model_card(with_parameters(study, source="<img src=x>"), "mae")
    assert ["a\\|b", "\\<b\\>", "1", "[x\\](y) \\| z"] in rows(card)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", ModelCard(card).text)
    widths = [len(row) for row in rows(card)]
    heads = [place for place, row in enumerate(rows(card)) if set("".join(row)) <= set("-:")]
    for head, end in zip(heads, [*[h - 1 for h in heads[1:]], len(widths)], strict=True):
        assert len(set(widths[head - 1 : end])) == 1


def test_a_study_without_a_task_still_has_a_card(unanswered_study: Study) -> None:
    card = model_card(unanswered_study, "mae")
    assert "No task could be evaluated" in sentences(card)
    assert not head(card).eval_results


def test_the_same_study_gives_the_same_card(study: Study) -> None:
    assert model_card(study, "mae") == model_card(study, "mae")


def test_a_card_reveals_no_folder_of_the_machine(study: Study) -> None:
    start = {"seed": 0, "initialization": {"checkpoint": "/home/somebody/start.safetensors"}}
    card = model_card(with_parameters(study, training=start), "mae")
    assert "start.safetensors" in card
    assert "somebody" not in card


def test_borrowed_weights_are_named_wherever_it_matters(study: Study) -> None:
    start = {"seed": 0, "initialization": {"checkpoint": "/home/somebody/start.safetensors"}}
    borrowing = with_parameters(study, training=start, source="cbis_ddsm")
    reported = sentences(model_card(borrowing, "mae"))
    assert "they start from `start.safetensors`, whose terms apply as well" in reported
    assert "What those weights were trained on is not known here" in reported
    assert ModelCard(model_card(borrowing, "mae")).data.license == "unknown"
    assert "mae from start.safetensors" in render_report(borrowing)
    untrained = sentences(model_card(borrowing, "random"))
    assert "They start from" not in untrained
    assert "What those weights" not in untrained


def test_masking_guided_by_outlines_is_reported(study: Study) -> None:
    led = {"method": {"kind": "masked_autoencoder", "masking": {"kind": "lesion"}}}
    reported = "was not trained annotation-free"
    assert reported in sentences(model_card(with_parameters(study, mae=led), "mae"))
    assert reported not in sentences(model_card(study, "mae"))


def test_an_unknown_method_is_refused_by_name(study: Study) -> None:
    with pytest.raises(MiramError, match=r"no method 'mea'.*random, mae, miram_nystrom"):
        model_card(study, "mea")


@pytest.mark.parametrize("kind", ["shared", "color", "attention", "backbone"])
def test_the_code_of_a_card_gives_the_features_that_the_probes_read(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    encoder: EncoderConfig = ENCODER
    method: dict[str, Any] = {"kind": "random"}
    if kind == "color":
        encoder = ENCODER.model_copy(update={"channels": 3})
    if kind == "attention":
        encoder = ENCODER.model_copy(update={"attention": HaloConfig(window=1, halo=1)})
    header: dict[str, Any] = {
        "timm": encoder.timm_arguments,
        "image_size": 32,
        **encoder.standardization.header(),
    }
    model: torch.nn.Module = encoder.build(seed=3)
    if kind == "backbone":
        method = BACKBONE
        backbone = TimmBackboneConfig.model_validate(BACKBONE)
        model, header["timm"] = backbone.build_encoder(seed=3), backbone.timm_arguments
    checkpoint = EncoderCheckpoint.of(model, header)
    if kind == "attention":  # which timm does not have
        checkpoint.save(tmp_path / "encoder.safetensors")
    else:
        export_timm(checkpoint, tmp_path / "exported" / "timm")
    monkeypatch.chdir(tmp_path)

    reported = with_parameters(study, encoder=encoder, random={"method": method})
    snippet = code(model_card(reported, "random"))
    crop = np.random.default_rng(0).integers(0, 2**16, (32, 32), np.uint16)
    assert "np.zeros((32, 32), np.uint16)" in snippet
    names: dict[str, Any] = {"given": crop}
    exec(snippet.replace("np.zeros((32, 32), np.uint16)", "given"), names)

    masks = np.zeros((1, 4, 4), np.uint8)
    expected = extract_features(checkpoint, crop[None], masks, FeatureConfig())
    np.testing.assert_allclose(names["features"].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_encoders_per_fold_are_loaded_by_the_code_of_their_card(
    four_class_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = {"timm": ENCODER.timm_arguments}
    folds = {f"fold{k}": EncoderCheckpoint.of(ENCODER.build(seed=k), header) for k in range(4)}
    join_folds(folds).save(tmp_path / "encoder.safetensors")
    monkeypatch.chdir(tmp_path)

    supervised = four_class_study.methods["mae"]
    study = replace(
        four_class_study, methods={**four_class_study.methods, "supervised": supervised}
    )
    card = model_card(with_parameters(study, encoder=ENCODER), "supervised")
    assert "There are 4 encoders, one per fold" in sentences(card)
    names: dict[str, Any] = {}
    exec(code(card), names)
    assert set(names["encoders"]) == set(folds)
    for fold, encoder in names["encoders"].items():
        torch.testing.assert_close(dict(encoder.state_dict()), folds[fold].state)
