"""What counts as a change of code: what it does, not how it is written."""

import pytest

from miram.provenance import FEATURE_CODE, TRAINING_CODE, code_digest

PLAIN = "def double(x):\n    return 2 * x\n"
DOCUMENTED = '''"""A module."""

class Empty:
    """Nothing but words."""

def double(x):
    """Double a number."""
    return (2 *
            x)  # twice
'''


def digest(folder, name, text, packages=("training",)):
    path = folder / name / packages[0] / "code.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return code_digest(*packages, root=folder / name)


def test_docstrings_comments_and_layout_do_not_count(tmp_path):
    documented = digest(tmp_path, "documented", DOCUMENTED)
    other_words = DOCUMENTED.replace("Double", "Multiply by two").replace("# twice", "")
    assert digest(tmp_path, "reworded", other_words) == documented
    bare = "class Empty: ...\n" + PLAIN
    assert digest(tmp_path, "bare", bare) != digest(tmp_path, "plain", PLAIN)


@pytest.mark.parametrize(
    "edit", [("2", "3"), ("double", "twice"), ("x", "y"), ("return 2 * x", 'return "2 * x"')]
)
def test_what_code_does_and_how_it_is_called_counts(tmp_path, edit):
    assert digest(tmp_path, "before", PLAIN) != digest(tmp_path, "after", PLAIN.replace(*edit))


@pytest.mark.parametrize(
    ("packages", "edited", "counts"),
    [
        (TRAINING_CODE, "training/loop.py", True),
        (TRAINING_CODE, "models/encoder.py", True),
        (TRAINING_CODE, "evaluation/features/pooling.py", False),
        (FEATURE_CODE, "evaluation/features/pooling.py", True),
        (FEATURE_CODE, "models/encoder.py", True),
        (FEATURE_CODE, "training/loop.py", False),
    ],
)
def test_weights_depend_on_training_code_and_features_on_their_own(
    tmp_path, packages, edited, counts
):
    digests = []
    for version, text in {"before": PLAIN, "after": PLAIN + "double(1)\n"}.items():
        root = tmp_path / version
        for name in ("training/loop.py", "models/encoder.py", "evaluation/features/pooling.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text if name == edited else PLAIN)
        digests.append(code_digest.__wrapped__(*packages, root=root))
    assert (digests[0] != digests[1]) == counts


def test_the_packages_of_both_digests_exist():
    assert code_digest(*TRAINING_CODE) != code_digest(*FEATURE_CODE) != code_digest()
