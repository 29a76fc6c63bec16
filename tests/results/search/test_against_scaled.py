from results.search.against_scaled import lead, markdown

ROW = {
    "device": "iphone12",
    "budget_ms": 2.0,
    "exit": 0,
    "published": 79.8,
    "scaled": 80.7,
    "winner": 81.3,
    "blocks": "a net",
}


def test_the_page_states_leads_and_misses():
    page = markdown([ROW, ROW | {"winner": 80.9, "published": None}], "command")
    assert "| iphone12, 2 | 79.80 | 80.70 | 81.30 | +1.50 | +0.60 | a net |" in page
    assert "none fits" in page
    assert "median +0.40" in page
    assert "+0.5 in 1 of 2" in page
    assert lead(ROW, "published") == ROW["winner"] - ROW["published"]
