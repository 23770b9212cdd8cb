"""View and breast side, read from a file name where the header is silent."""

import re

_SIDES = {"L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
_VIEWS = ("CC", "MLO", "ML", "LM", "XCCL", "XCCM")
_WORD = re.compile(r"[A-Z]+")
_SIDE_AND_VIEW = re.compile(rf"(L|R|LEFT|RIGHT)({'|'.join(_VIEWS)})")


def side_of(code: str) -> str | None:
    """Turn a DICOM laterality (PS3.3, C.8.11.7: L, R, B) into LEFT, RIGHT or None."""
    return _SIDES.get(code.strip().upper())


def view_and_side_of_name(stem: str) -> tuple[str | None, str | None]:
    """Read view and side from the words of a file name.

    Words are runs of letters, so that `P_00001_LEFT_CC`, `20586908_MG_R_ML_ANON` and
    `case7-LMLO` all speak. `LM` alone is a view, `LMLO` a side and a view.

    Args:
        stem: File name without its suffix.

    Returns:
        View (such as CC or MLO) and side (LEFT or RIGHT); None for what the name does not
        say, or says twice differently.
    """
    views, sides = set(), set()
    for word in _WORD.findall(stem.upper()):
        if word in _VIEWS:
            views.add(word)
        elif word in _SIDES:
            sides.add(_SIDES[word])
        elif joined := _SIDE_AND_VIEW.fullmatch(word):
            sides.add(_SIDES[joined[1]])
            views.add(joined[2])
    return _only(views), _only(sides)


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
