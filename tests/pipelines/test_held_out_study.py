"""A cross-validated study whose encoders have seen no image of those they are evaluated on."""

import shutil

import pytest
import torch

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.evaluate import evaluate_table
from miram.models.checkpoints.joined import split_folds

FOLDS = {"strategy": "cv", "folds": 3, "repeats": 2}
METHODS = {"methods": ["random", "mae"], "splits": FOLDS, "training": {"hold_out_folds": True}}


@pytest.fixture(scope="module")
def held_out(study, tmp_path_factory, run_pipeline):
    root = tmp_path_factory.mktemp("held_out") / "study"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("mlflow"))
    for name in ("rois", "pretrain", "probe", "baselines", "report"):
        run_pipeline(root, name, **METHODS)
    return root


def test_every_lesion_is_evaluated_by_the_encoder_of_its_fold(held_out, open_context):
    catalog = open_context(held_out).catalog
    encoders = split_folds(catalog.load("mae.encoder"))
    assert len(encoders) == 6
    first, *others = (one.state["blocks.0.attn.qkv.weight"] for one in encoders.values())
    assert not any(torch.equal(first, other) for other in others)
    assert set(catalog.load("mae.features")["fold"]) == set(encoders)
    context, splits = open_context(held_out), catalog.load("splits")
    config = AssessmentConfig.model_validate(context.params["evaluation"])
    features = catalog.load("mae.features")
    disturbed = features.copy()
    of_fold = disturbed["fold"] == "fold1"
    numbers = [name for name in disturbed if name.startswith("f") and name[1:].isdigit()]
    disturbed.loc[of_fold, numbers] = disturbed.loc[of_fold, numbers].to_numpy()[::-1]
    first, second = (
        evaluate_table(one, catalog.load("lesions"), splits, config).predictions
        for one in (features, disturbed)
    )
    assert set(first["repeat"]) == {1, 2}
    moved = set(first.loc[first["score"].to_numpy() != second["score"].to_numpy(), "lesion_id"])
    assert moved and moved <= set(splits.loc[splits["split"] == "fold1", "lesion_id"])


def test_report_and_cards_state_what_the_encoders_have_seen(held_out):
    reporting = held_out / "08_reporting"
    page, card, claim = (
        " ".join((reporting / name).read_text().split())
        for name in ("report.html", "mae/model_card.md", "claim.md")
    )
    assert "saw the images of the evaluated patients" not in page
    assert "Encoders pretrained without labels saw images" not in page + card + claim
    assert "There are 6 encoders, one per fold of each repeat, each trained on the images" in card
    assert "There is one encoder per fold, all in one file" in card
    assert "to each encoder of mae those outside its fold" in claim
    assert "Pretraining without labels saw images" not in claim


def test_there_is_no_single_encoder_to_export(held_out, run_pipeline, caplog):
    with caplog.at_level("WARNING", logger="miram"):
        run_pipeline(held_out, "export", namespaces=["mae"], **METHODS)
    assert "6 encoders, one per fold" in caplog.text
    assert "training.hold_out_folds=false" in caplog.text
