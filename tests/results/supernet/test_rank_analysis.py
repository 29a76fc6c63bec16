import json

import numpy as np
import pytest

from effsearch.report.held_out_error import error_text
from results.accuracy.agreement import all_pairs
from results.accuracy.campaign_table import Row, Table
from results.supernet import rank_analysis as supernet_analysis
from results.supernet.rank_analysis import analyse, compare, main
from searchspace import SearchSpace, UserError


def test_a_better_score_leads():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=60)
    scores = {"good": truth + rng.normal(size=60) / 2, "bad": rng.normal(size=60)}
    rows = {row["score"]: row for row in compare(scores, truth, all_pairs(60), "good")}
    assert rows["good"]["interval"][0] < rows["good"]["tau"] < rows["good"]["interval"][1]
    assert rows["bad"]["lead_of_inherited"][0] > 0


def write_inputs(tmp_path, count):
    space, rng = SearchSpace.load("tiny"), np.random.default_rng(0)
    folder = tmp_path / "architectures"
    folder.mkdir()
    nets = {}
    while len(nets) < count:
        net = space.sample(rng)
        nets[net.digest()] = net
    table, members, lines = Table(tmp_path / "evidence.csv"), [], []
    for number, (digest, net) in enumerate(nets.items()):
        net.to_yaml(folder / f"{digest}.yaml")
        members.append({"digest": digest, "band": number % 2})
        row = Row(digest, digest, 0, "r", "x", "d", 1, 32, 1.0, 1.0, "", 10.0 + number, 50.0, 1.0,
                  1.0, 1.0, "cpu")  # fmt: skip
        table.append(row)
        lines.append(f"{digest},{digest},1,{5 + number},20,{3 - number / 10},24,4,100")
    (folder / "index.json").write_text(json.dumps({"device": "a", "members": members}))
    header = "architecture,digest,params_m,top1,top5,val_loss,images,recalibration_batches,"
    (tmp_path / "inherited.csv").write_text("\n".join([header + "supernet_steps", *lines]) + "\n")
    return tmp_path / "inherited.csv", tmp_path / "evidence.csv", folder


def test_analysis_end_to_end(tmp_path, capsys):
    inherited, evidence, folder = write_inputs(tmp_path, 14)
    arguments = ["--inherited", str(inherited), "--evidence", str(evidence)]
    arguments += ["--architectures", str(folder), "--out", str(tmp_path / "out")]
    digests = [path.stem for path in folder.glob("*.yaml")]
    lines = ["digest,zico,label", *(f"{d},{n},x" for n, d in enumerate(sorted(digests)))]
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    arguments += ["--scores", str(tmp_path / "scores.csv")]
    tuned = ["architecture,digest,start,before,steps,top1"]
    for number in range(3):
        tuned.append(f"n{number},d{number},inherited,10,32,{20 + number}")
        tuned.append(f"n{number},d{number},scratch,1,32,{15 + 2 * number}")
    (tmp_path / "tuned.csv").write_text("\n".join(tuned) + "\n")
    arguments += ["--finetuned", str(tmp_path / "tuned.csv")]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert report["networks"] == 14
    assert report["over_all"][0]["tau"] == 1
    names = [row["score"] for row in report["over_all"]]
    assert "zico" in names
    assert "label" not in names
    assert report["inside_bands"][0]["tau"] == 1
    # Gains of 5, 4 and 3 points: 4 +- 4.303 / sqrt(3).
    assert report["inheritance"]["mean_gain"] == 4
    assert report["inheritance"]["interval"] == pytest.approx([1.516, 6.484], abs=1e-3)
    out = capsys.readouterr().out
    assert "inherited top-1 | 1.000" in out
    assert "mean gain +4.00 points (95 % +1.52 to +6.48)" in out


def test_what_the_score_source_says_is_shipped_on_request(tmp_path, monkeypatch):
    inherited, evidence, folder = write_inputs(tmp_path, 12)
    shipped = tmp_path / "inherited.json"
    monkeypatch.setattr(supernet_analysis, "STATED", shipped)
    arguments = ["--inherited", str(inherited), "--evidence", str(evidence)]
    arguments += ["--architectures", str(folder), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert not shipped.exists()
    for how in ("one way", "another", "one way"):
        assert main([*arguments, "--state", how]) == 0
    body = json.loads(shipped.read_text())
    assert [entry["how"] for entry in body] == ["another", "one way"]
    assert (body[0]["networks"], body[0]["supernet_steps"]) == (12, 100)
    assert body[0]["kendall_tau"]["over_all"][0] == 1
    text = error_text({"validation_images": 9, "ranking": body})
    assert "with 12, another; 1.00" in text


def test_too_few_networks_are_refused(tmp_path):
    with pytest.raises(UserError, match="only 4 networks"):
        analyse(*write_inputs(tmp_path, 4))
