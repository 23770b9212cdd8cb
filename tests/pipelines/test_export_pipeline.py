"""`kedro run --pipeline export`: the files of other programs, beside each encoder."""

import json

import pytest
import timm
import torch

from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds
from miram.models.encoder import EncoderConfig

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"embed_dim": 32, "depth": 1, "num_heads": 2},
)


def encoder_of(seed):
    return EncoderCheckpoint.of(ENCODER.build(seed), {"timm": ENCODER.timm_arguments})


@pytest.fixture(scope="module")
def exported(tmp_path_factory, open_context, run_pipeline):
    """Two methods, one of them with an encoder per fold, after the pipeline."""
    for name in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(name)
    root = tmp_path_factory.mktemp("data")
    folds = join_folds({"fold0": encoder_of(1), "fold1": encoder_of(2)})
    for method, checkpoint in (("mae", encoder_of(0)), ("supervised", folds)):
        open_context(root).catalog.save(f"{method}.encoder", checkpoint)
    run_pipeline(root, "export", namespaces=["mae", "supervised"])
    return root / "06_models"


def test_every_format_stands_beside_the_encoder(exported):
    import onnxruntime
    from transformers import ViTModel

    folder = exported / "mae" / "exports"
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ENCODER.build(seed=0).eval().forward_features(images)
        by_timm = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
        by_vit = ViTModel.from_pretrained(folder / "hugging_face", add_pooling_layer=False).eval()
        found = {
            "timm": by_timm.forward_features(images),
            "hugging_face": by_vit(images).last_hidden_state,
        }
    session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"))
    found["onnx"] = torch.from_numpy(session.run(["patches"], {"images": images.numpy()})[0])
    torch.testing.assert_close(found["timm"], expected)
    torch.testing.assert_close(found["hugging_face"], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["onnx"], expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_an_encoder_per_fold_is_left_out_and_the_others_are_not(exported):
    folder = exported / "supervised" / "exports"
    assert {path.name for path in folder.iterdir()} == {"exports.json", ".sha256"}
    left_out = json.loads((folder / "exports.json").read_text())["left_out"]
    assert set(left_out) == {"timm", "onnx", "hugging_face"}
    assert all("one per fold" in reason for reason in left_out.values())
    assert json.loads((exported / "mae" / "exports" / "exports.json").read_text())["left_out"] == {}
