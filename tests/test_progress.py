"""The time that a long loop will take."""

import itertools
import time

from miram.progress import track


def test_the_rest_is_estimated_without_the_first_item(monkeypatch, caplog):
    # The first of six items takes a minute, as workers start; the others 5 s each.
    clock = itertools.chain([0, 60], range(65, 200, 5))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    caplog.set_level("INFO")
    assert list(track("abcdef", "films", total=6)) == list("abcdef")
    assert caplog.messages[:2] == ["films: 1", "films: 2 of 6, 20 s left"]
    assert caplog.messages[-1] == "films: 6 of 6, 0 s left"
