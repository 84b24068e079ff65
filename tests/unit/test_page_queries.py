"""The live queries of the page are psql's own, with bound parameters."""

from datetime import UTC, datetime

import pytest

from demo.page import queries
from demo.page.live import NAMES
from demo.screen import SHOWN


def test_every_query_is_read() -> None:
    assert set(NAMES) == set(SHOWN)
    for name in NAMES:
        query = queries.read(name)
        assert query.question.endswith("?")
        assert query.defaults
        assert "\\if" not in query.shown
        for variable in query.defaults:
            assert f"%({variable})s" in query.statement


def test_variables_become_parameters() -> None:
    query = queries.read("pg_segment_membership")
    assert query.defaults == {"vendor": 1, "segment": "", "rows": 50}
    assert query.bound({}) == {"vendor": 1, "segment": "", "rows": 50}
    assert query.bound({"vendor": "7", "segment": "'; drop", "rows": "", "user": "u"}) == {
        "vendor": 7, "segment": "'; drop", "rows": 50,
    }  # fmt: skip
    with pytest.raises(ValueError, match="four"):
        query.bound({"vendor": "four"})


def test_casts_are_no_variables() -> None:
    assert "segment::text" in queries.read("pg_user_point_lookup").statement


def test_cells_are_text() -> None:
    found = (None, True, ["a", "b"], 7, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC))
    assert list(map(queries.cell, found)) == ["", "yes", "a, b", "7", "2026-01-02 03:04:05.678+00:00"]
