"""What the tests of decoding share."""

import pytest

from miram.mammography.decoding.read import DecodingConfig, DecodingError, read_frames


@pytest.fixture
def saved(tmp_path):
    """Saver of a data set: its path."""

    def save(dataset, name="file.dcm"):
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return save


@pytest.fixture(scope="session")
def failure():
    """Reader of a file that must fail: the code of its error."""

    def code_of(path, **config):
        with pytest.raises(DecodingError) as caught:
            list(read_frames(path, DecodingConfig(**config)))
        return caught.value.code

    return code_of
