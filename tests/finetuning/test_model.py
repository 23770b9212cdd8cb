import timm
import torch

from miram.finetuning.model import FineTuned
from miram.models.checkpoints.files import EncoderCheckpoint


def test_a_model_whose_head_is_wider_than_its_last_layer_is_fine_tuned():
    arguments = {"model_name": "mobilenetv3_small_050", "in_chans": 1, "num_classes": 0}
    torch.manual_seed(0)
    encoder = timm.create_model(**arguments).eval()
    start = EncoderCheckpoint.of(encoder, {"timm": arguments, "image_size": 32})
    model = FineTuned(start, "patches", torch.ones(3), several=False).eval()
    images = torch.rand(2, 1, 32, 32)
    expected = model.head(encoder(images))
    assert expected.shape == (2, 3)
    torch.testing.assert_close(model.logits(images), expected)
