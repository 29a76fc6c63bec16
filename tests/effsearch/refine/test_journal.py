from __future__ import annotations

from effsearch.refine.journal import Entry, Journal


def test_lines_read_back(tmp_path):
    journal = Journal.open(tmp_path / "folder" / "results.jsonl")
    lines = [
        Entry("a", 1, 50.0, 1.5, "CPU"),
        Entry("b", failed="out of memory"),
        Entry("a", 2, 0.0),
    ]
    for line in lines:
        journal.add(line)
    again = Journal.open(journal.path)
    assert again.entries == lines
    assert again.curve("a") == [(1, 50.0), (2, 0.0)]
    assert (again.epochs("a"), again.epochs("b")) == (2, 0)


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    journal = Journal.open(tmp_path / "results.jsonl")
    journal.add(Entry("a", 1, 50.0))
    with journal.path.open("a") as file:
        file.write('{"digest": "a", "epo')
    again = Journal.open(journal.path)
    again.add(Entry("a", 2, 60.0))
    assert Journal.open(journal.path).curve("a") == [(1, 50.0), (2, 60.0)]


def test_what_is_not_kept_is_gone(tmp_path):
    journal = Journal.open(tmp_path / "results.jsonl")
    for name in "abab":
        journal.add(Entry(name, journal.epochs(name) + 1, 1.0))
    Journal.open(journal.path, lambda entry: entry.digest != "a")
    assert [e.digest for e in Journal.open(journal.path).entries] == ["b", "b"]
