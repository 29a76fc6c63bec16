import numpy as np

from results.accuracy import crossval


def test_every_network_is_judged_once_and_never_by_what_saw_it():
    seen = []

    def fit(train):
        def predict(rows):
            assert not set(train) & set(rows)
            seen.extend(rows)
            return rows.astype(float), np.ones(len(rows))

        return predict

    means, _ = crossval.out_of_fold(fit, 23, repeats=3)
    assert means.tolist() == [list(range(23))] * 3
    assert sorted(seen) == sorted(list(range(23)) * 3)


def test_the_choice_is_made_inside_the_training_rows():
    z = np.arange(20.0)
    asked = []

    def good(train):
        asked.append(set(train))
        return lambda rows: (z[rows], np.ones(len(rows)))

    def bad(train):
        return lambda rows: (-z[rows], np.ones(len(rows)))

    train = np.arange(0, 20, 2)
    chosen = crossval.chosen_of({"bad": bad, "good": good}, z)(train)
    assert chosen(np.array([1, 3]))[0].tolist() == [1, 3]
    assert all(rows <= set(train) for rows in asked)
