"""The controls pipeline as a user runs it, on a finished study."""

import json


def test_a_trained_encoder_is_at_chance_where_there_is_nothing_to_find(copied, run_pipeline):
    run_pipeline(copied, "controls", namespaces=["mae"])
    found = json.loads((copied / "07_model_output/mae/controls.json").read_text())
    assert found["blank_pixels"]["estimate"] == 0.5
    permuted = found["permuted_labels"]
    assert permuted["lower"] < 0.5 < permuted["upper"]
    assert permuted["lesions"] > permuted["patients"] > 0
