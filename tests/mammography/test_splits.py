"""Splits by patient: nobody in two parts, the same for the same data, nothing lost."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from miram.errors import MiramError
from miram.mammography.sources.cbis_ddsm.case_tables import read_case_descriptions
from miram.mammography.splits import (
    SplitConfig,
    assert_patients_apart,
    assign_splits,
    pretraining_crops,
    split_repeats,
)

PARTS = {"train", "val", "test", "dropped"}


def lesion_table(seed, patients, leaking=0, official=True) -> pd.DataFrame:
    """Lesions of patients of whom the first `leaking` are in both official parts."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        parts = ["train", "test"] if patient < leaking else [rng.choice(["train", "test"])]
        if leaking <= patient < leaking + 4:
            parts = ["train" if patient % 2 else "test"]
        for part in parts:
            for _ in range(rng.integers(1, 4)):
                rows.append(
                    {
                        "lesion_id": f"L{len(rows):04d}",
                        "patient_id": f"P_{patient:05d}",
                        "official_split": part if official else None,
                        "leaks": official and patient < leaking,
                        "pathology": rng.choice(["BENIGN", "MALIGNANT"]),
                        "abnormality_type": rng.choice(["mass", "calcification"]),
                    }
                )
    return pd.DataFrame(rows).astype({"official_split": "string", "pathology": "string"})


TABLES = st.builds(
    lesion_table,
    seed=st.integers(0, 10_000),
    patients=st.integers(12, 30),
    leaking=st.integers(0, 5),
)
CONFIGS = st.builds(
    SplitConfig,
    strategy=st.sampled_from(["auto", "official", "cv"]),
    leakage=st.sampled_from(["drop", "official"]),
    validation_share=st.sampled_from([0.1, 0.15, 0.3, 0.5]),
    folds=st.integers(2, 5),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 3),
)
properties = settings(max_examples=20)


@properties
@given(TABLES, CONFIGS)
def test_every_lesion_is_in_exactly_one_part(lesions, config):
    splits = assign_splits(lesions, config)
    assert splits["lesion_id"].tolist() == lesions["lesion_id"].tolist()
    assert splits["patient_id"].tolist() == lesions["patient_id"].tolist()
    allowed = {f"fold{i}" for i in range(config.folds)} if config.strategy == "cv" else PARTS
    assert set(splits["split"]) <= allowed


@properties
@given(TABLES, CONFIGS)
def test_no_patient_is_in_two_parts_but_leaking_ones_where_they_are_kept(lesions, config):
    splits = assign_splits(lesions, config)
    used = splits[splits["split"] != "dropped"]
    several = used.groupby("patient_id")["split"].agg(set)
    several = several[several.map(len) > 1]
    if config.leakage == "drop" or config.strategy == "cv":
        assert several.empty
    else:
        assert all(parts == {"train", "test"} for parts in several)
        assert set(several.index) <= set(lesions.loc[lesions["leaks"], "patient_id"])


@properties
@given(TABLES, CONFIGS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(lesions, config, random):
    order = list(range(len(lesions)))
    random.shuffle(order)
    mixed = assign_splits(lesions.iloc[order], config)
    expected = assign_splits(lesions, config)
    pd.testing.assert_frame_equal(mixed.sort_values("lesion_id", ignore_index=True), expected)


@properties
@given(TABLES, CONFIGS)
def test_only_training_lesions_of_leaking_patients_are_dropped(lesions, config):
    splits = assign_splits(lesions, config)
    dropped = splits["split"] == "dropped"
    leaking = lesions["leaks"] & (lesions["official_split"] == "train")
    if config.leakage == "drop" and config.strategy != "cv":
        assert (dropped == leaking).all()
    else:
        assert not dropped.any()
    assert not splits.loc[dropped, "pretrain"].any()


@properties
@given(TABLES, CONFIGS.filter(lambda config: config.strategy != "cv"))
def test_the_official_test_part_stays_as_it_is_and_is_never_trained_on(lesions, config):
    splits = assign_splits(lesions, config)
    test = splits["split"] == "test"
    assert (test == (lesions["official_split"] == "test")).all()
    apart = test | (splits["split"] == "val")
    assert not splits.loc[apart, "pretrain"].any()
    assert (splits["split"] == "val").any() and (splits["split"] == "train").any()


def test_another_seed_gives_another_validation_part():
    lesions = lesion_table(0, 60)
    first, second = (assign_splits(lesions, SplitConfig(seed=seed))["split"] for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize("share", [0.1, 0.15, 0.25, 0.4])
def test_the_validation_part_has_about_the_share_of_patients_and_classes_asked_for(share):
    lesions = lesion_table(0, 600)
    splits = assign_splits(lesions, SplitConfig(validation_share=share))
    train = splits[lesions["official_split"] == "train"]
    patients = train.drop_duplicates("patient_id")
    assert (patients["split"] == "val").mean() == pytest.approx(share, abs=0.03)
    malignant = lesions["pathology"] == "MALIGNANT"
    rates = malignant.groupby(splits["split"]).mean()
    assert rates["val"] == pytest.approx(rates["train"], abs=0.05)


def test_auto_follows_the_official_split_where_both_parts_are_there():
    lesions = lesion_table(0, 30)
    assert set(assign_splits(lesions, SplitConfig())["strategy"]) == {"official"}
    test = lesions[lesions["official_split"] == "test"]
    assert set(assign_splits(test, SplitConfig())["strategy"]) == {"cv"}
    repeated = assign_splits(lesions, SplitConfig(repeats=3))
    assert len(split_repeats(repeated)) == 1 and "split_repeat2" not in repeated
    unknown = lesion_table(0, 30, official=False)
    assert set(assign_splits(unknown, SplitConfig())["strategy"]) == {"cv"}


def test_folds_are_all_used_and_of_similar_size():
    splits = assign_splits(lesion_table(0, 100), SplitConfig(strategy="cv", folds=5))
    sizes = splits["split"].value_counts()
    assert sorted(sizes.index) == [f"fold{i}" for i in range(5)]
    assert sizes.max() < 1.3 * sizes.min()


def test_repeats_assign_patients_again_and_keep_the_first_assignment():
    lesions = lesion_table(1, 40)
    once = assign_splits(lesions, SplitConfig(strategy="cv", seed=3))
    table = assign_splits(lesions, SplitConfig(strategy="cv", seed=3, repeats=3))
    repeats = split_repeats(table)
    pd.testing.assert_frame_equal(repeats[0], once)
    pd.testing.assert_frame_equal(split_repeats(once)[0], once)
    assert len(repeats) == 3
    names = [set(one["split"]) for one in repeats]
    assert sorted(names[1]) == [f"repeat2_fold{fold}" for fold in range(5)]
    assert not names[0] & names[1] and not names[1] & names[2]
    partners = {tuple(one.groupby("split")["lesion_id"].agg(tuple)) for one in repeats}
    assert len(partners) == 3
    for one in repeats:
        assert list(one.columns) == list(once.columns)
        assert one.groupby("patient_id")["split"].nunique().max() == 1


def test_lesions_without_pathology_are_split_too():
    lesions = lesion_table(0, 30).assign(pathology=pd.NA)
    assert set(assign_splits(lesions, SplitConfig())["split"]) == {"train", "val", "test"}


def test_no_lesions_at_all_give_an_empty_table():
    splits = assign_splits(lesion_table(0, 20).iloc[:0], SplitConfig())
    assert splits.empty and "pretrain" in splits
    assert_patients_apart(splits)


def test_leaks_are_found_even_where_the_table_does_not_flag_them():
    lesions = lesion_table(0, 30, leaking=4).assign(leaks=False)
    dropped = assign_splits(lesions, SplitConfig()).query("split == 'dropped'")
    assert dropped["patient_id"].nunique() == 4


@pytest.mark.parametrize(
    ("lesions", "config", "message"),
    [
        (
            lesion_table(0, 20).query("official_split == 'test'"),
            {"strategy": "official"},
            "of test only",
        ),
        (lesion_table(0, 20, official=False), {"strategy": "official"}, "no official part only"),
        (lesion_table(0, 4), {"strategy": "cv", "folds": 5}, "4 patients cannot be split into 5"),
        (
            lesion_table(0, 20).query("official_split == 'test' or patient_id == 'P_00001'"),
            {},
            "1 training patients are too few",
        ),
        (
            lesion_table(0, 20).assign(
                official_split=lambda t: t["official_split"].mask(t["lesion_id"] == "L0002")
            ),
            {},
            "lesion L0002 has no official_split",
        ),
    ],
)
def test_what_cannot_be_split_is_an_error_that_says_why(lesions, config, message):
    with pytest.raises(MiramError, match=message):
        assign_splits(lesions, SplitConfig(**config))


def splits_of(*parts, leakage="drop", strategy="official"):
    table = pd.DataFrame({"patient_id": "P_1", "split": parts, "leakage": leakage})
    return table.assign(strategy=strategy)


@pytest.mark.parametrize(
    "splits",
    [
        splits_of("train", "test"),
        splits_of("train", "val", leakage="official"),
        splits_of("val", "test", leakage="official"),
        splits_of("fold0", "fold1", strategy="cv", leakage="official"),
    ],
)
def test_a_patient_in_two_parts_is_refused_but_for_the_official_and_dropped_lesions(splits):
    with pytest.raises(MiramError, match="patient P_1 is in two parts"):
        assert_patients_apart(splits)
    assert_patients_apart(splits_of("dropped", "test"))
    assert_patients_apart(splits_of("train", "test", leakage="official"))


@pytest.mark.parametrize(
    "values", [{"folds": 1}, {"repeats": 0}, {"validation_share": 0.6}, {"leakage": "keep"}]
)
def test_impossible_parameters_are_refused(values):
    with pytest.raises(ValidationError):
        SplitConfig(**values)


def manifest_of(lesions) -> pd.DataFrame:
    """One crop per lesion and one background patch per patient and official part."""
    crops = lesions.assign(crop_id=lesions["lesion_id"], kind="lesion")
    patches = lesions.drop_duplicates(["patient_id", "official_split"]).copy()
    patches = patches.assign(crop_id="b" + patches["lesion_id"], kind="background")
    columns = ["crop_id", "kind", "patient_id", "official_split"]
    return pd.concat([crops, patches])[columns].reset_index(drop=True)


@properties
@given(TABLES, CONFIGS)
def test_pretraining_sees_no_patient_who_is_kept_apart(lesions, config):
    splits, manifest = assign_splits(lesions, config), manifest_of(lesions)
    seen = manifest.iloc[pretraining_crops(manifest, splits)]
    apart = splits[splits["split"].isin(["val", "test"])]
    assert not seen["crop_id"].isin(apart["lesion_id"]).any()
    patches = seen[seen["kind"] == "background"]
    assert not patches["patient_id"].isin(apart["patient_id"]).any()
    if config.leakage == "drop":
        assert not seen["patient_id"].isin(apart["patient_id"]).any()
    trained = splits.loc[splits["pretrain"], "lesion_id"]
    assert set(seen.loc[seen["kind"] == "lesion", "crop_id"]) == set(trained)


def test_patches_of_unmarked_images_are_seen_unless_they_are_of_the_test_part():
    lesions = lesion_table(0, 30)
    unmarked = pd.DataFrame(
        {
            "crop_id": ["free", "held back", "no part"],
            "kind": "background",
            "patient_id": ["Q_1", "Q_2", "Q_3"],
            "official_split": ["train", "test", None],
        }
    )
    manifest = pd.concat([manifest_of(lesions), unmarked], ignore_index=True)

    def seen(config):
        rows = pretraining_crops(manifest, assign_splits(lesions, config))
        return set(manifest["crop_id"].iloc[rows]) & set(unmarked["crop_id"])

    assert seen(SplitConfig()) == {"free", "no part"}
    assert seen(SplitConfig(strategy="cv")) == {"free", "held back", "no part"}


def test_a_store_without_lesions_can_be_pretrained_on():
    manifest = pd.DataFrame(
        {"crop_id": ["b"], "kind": "background", "patient_id": "P", "official_split": None}
    )
    splits = assign_splits(lesion_table(0, 20).iloc[:0], SplitConfig())
    assert pretraining_crops(manifest, splits).tolist() == [0]


@pytest.mark.slow
def test_the_31_patients_of_cbis_ddsm_are_neither_trained_nor_pretrained_on(shared_data):
    lesions = read_case_descriptions(shared_data / "cbis_ddsm")
    splits = assign_splits(lesions, SplitConfig())
    dropped = splits[splits["split"] == "dropped"]
    assert dropped["patient_id"].nunique() == 31
    assert (splits["split"] == "test").sum() == 704
    seen = splits.loc[splits["pretrain"], "patient_id"]
    assert not set(seen) & set(lesions.loc[lesions["official_split"] == "test", "patient_id"])
    kept = assign_splits(lesions, SplitConfig(leakage="official"))
    both = kept.groupby("patient_id")["split"].agg(lambda parts: {"train", "test"} <= set(parts))
    assert both.sum() == 31
