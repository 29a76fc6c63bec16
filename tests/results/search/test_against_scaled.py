from results.search.against_scaled import is_lost, lead, markdown

ROW = {
    "device": "iphone12",
    "budget_ms": 2.0,
    "exit": 0,
    "published": 79.8,
    "scaled": 80.7,
    "winner": 81.3,
    "blocks": "a net",
}


def test_a_winner_has_to_beat_both():
    assert not is_lost(ROW)
    assert is_lost(ROW | {"winner": 80.7})
    assert is_lost(ROW | {"winner": 79.9})
    assert is_lost({"device": "d", "budget_ms": 1.0, "exit": 3})
    assert not is_lost(ROW | {"published": None, "scaled": None})  # nothing to beat


def test_the_page_states_leads_and_misses():
    page = markdown([ROW, ROW | {"winner": 80.9, "published": None}], "command")
    assert "| iphone12, 2 | 79.80 | 80.70 | 81.30 | +1.50 | +0.60 | a net |" in page
    assert "none fits" in page
    assert "median +0.40" in page
    assert "+0.5 in 1 of 2" in page
    assert lead(ROW, "published") == ROW["winner"] - ROW["published"]
