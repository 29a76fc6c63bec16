import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from effsearch.accuracy.supernet_options import SupernetOptions
from effsearch.accuracy.supernet_source import SupernetScore
from effsearch.errors import WorkFailedError
from effsearch.training import recipe as recipes
from effsearch.training.supernet import plan
from effsearch.training.supernet import state as states
from effsearch.training.supernet.evaluate import InheritedConfig, InheritedScorer, recalibrate
from effsearch.training.supernet.published_start import seed
from effsearch.training.supernet.run import CHECKPOINT, InterruptedTrainingError, SupernetConfig
from effsearch.training.supernet.sampling import Sampler, cost_of, resolution_of
from effsearch.training.supernet.step import SupernetStep
from effsearch.training.supernet.trainer import train
from results.supernet.exported_accuracy import check
from results.supernet.train_and_rank import main as evidence
from searchspace import SearchSpace, UserError, build, operators, zoo
from searchspace.space_file import parse_space
from searchspace.supernet import Supernet

SMALL = {
    "image_side": 32,
    "source_side": 16,
    "early_side": 0,
    "batch_size": 16,
    "epochs": 2,
    "warmup_epochs": 0.5,
}


@pytest.fixture
def config(tree, tmp_path):
    recipe = recipes.load("supernet").replace(**SMALL)
    return lambda **changes: SupernetConfig(
        **{
            "space": SearchSpace.load("tiny"),
            "data": tree,
            "out": tmp_path / "out",
            "recipe": recipe,
            "device": "cpu",
            **changes,
        }
    )


def silent(line):
    del line


def test_training_learns_and_its_networks_inherit(config, tree):
    recipe = recipes.load("supernet").replace(**{**SMALL, "epochs": 12})
    result = train(config(recipe=recipe), silent)
    assert result.steps == 36
    assert result.networks == 4 * 36
    held = states.load(result.checkpoint)
    inherited = InheritedScorer.of(held, InheritedConfig(tree, device="cpu"))
    rng = np.random.default_rng(0)
    scores = [inherited.evaluate(inherited.supernet.space.sample(rng)).top1 for _ in range(6)]
    assert np.mean(scores) > 60  # chance is 33.3
    assert all(
        inherited.evaluate_network(inherited.network(a)).images == 24
        for a in [inherited.supernet.space.sample(rng)]
    )


def test_stems_apart_are_kept_in_the_checkpoint(config, tree):
    result = train(config(stems_apart=True, stop_after=2), silent)
    held = states.load(result.checkpoint)
    assert held.supernet().stems_apart
    inherited = InheritedScorer.of(held, InheritedConfig(tree, device="cpu"))
    assert inherited.supernet.stems_apart
    with pytest.raises(UserError, match="stems_apart True, not False"):
        train(config(resume=True), silent)
    assert train(config(stems_apart=True, resume=True), silent).steps == 6


def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path):
    train(config(out=tmp_path / "whole"), silent)
    train(config(out=tmp_path / "parts", stop_after=2), silent)
    assert states.load(tmp_path / "parts" / CHECKPOINT).step == 2
    train(config(out=tmp_path / "parts", resume=True), silent)
    whole, parts = (states.load(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole.step == parts.step == 6
    assert all(torch.equal(whole.weights[k], parts.weights[k]) for k in whole.weights)
    assert whole.training["dealt"] == parts.training["dealt"]
    train(config(out=tmp_path / "other", seed=1), silent)
    other = states.load(tmp_path / "other" / CHECKPOINT).weights
    assert any(not torch.equal(whole.weights[k], other[k]) for k in other)


def test_one_that_is_asked_to_stop_is_saved_at_its_step(config, tmp_path):
    train(config(out=tmp_path / "whole"), silent)
    answers = iter([False, False, True])
    with pytest.raises(InterruptedTrainingError):
        train(config(save_steps=1000), silent, stop=lambda: next(answers))
    assert states.load(tmp_path / "out" / CHECKPOINT).step == 3
    train(config(resume=True), silent)
    whole, parts = (states.load(tmp_path / name / CHECKPOINT) for name in ("whole", "out"))
    assert all(torch.equal(whole.weights[k], parts.weights[k]) for k in whole.weights)


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_identically(config, tree, tmp_path):
    script = (
        "import sys, torch; from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from effsearch.training import recipe as recipes\n"
        "from effsearch.training.supernet.run import SupernetConfig\n"
        "from effsearch.training.supernet.trainer import train\n"
        "from searchspace import SearchSpace\n"
        f"recipe = recipes.load('supernet').replace(**{ {**SMALL, 'epochs': 30}!r})\n"
        "out = Path(sys.argv[1])\n"
        f"train(SupernetConfig(SearchSpace.load('tiny'), Path({str(tree)!r}), out, recipe,\n"
        "    device='cpu', save_steps=2, resume=(out / 'supernet.pt').exists()))\n"
    )

    def start(name):
        return subprocess.Popen([sys.executable, "-c", script, str(tmp_path / name)])

    recipe = config().recipe.replace(epochs=30)
    train(config(out=tmp_path / "whole", recipe=recipe), silent)
    rng = np.random.default_rng(0)
    kills, last = 0, -1
    while True:
        process = start("killed")
        file = tmp_path / "killed" / CHECKPOINT
        begun = time.time()
        while process.poll() is None and time.time() - begun < 120:
            done = states.load(file).step if file.exists() else 0
            # Far from the end: a slow poll must not let the training finish first.
            if done > last + 4 and kills < 2:
                time.sleep(float(rng.uniform(0, 0.3)))
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                # Whatever was under way, the file is whole and lost nothing that was saved.
                last = states.load(file).step
                assert last >= done
                break
            time.sleep(0.02)
        if process.poll() == 0:
            break
    assert kills == 2
    whole, killed = (states.load(tmp_path / n / CHECKPOINT) for n in ("whole", "killed"))
    assert whole.step == killed.step
    assert all(torch.equal(whole.weights[k], killed.weights[k]) for k in whole.weights)


@pytest.mark.slow
def test_two_processes_train_the_same_networks(config, tree, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import torch; from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from effsearch.training import recipe as recipes\n"
        "from effsearch.training.supernet.run import SupernetConfig\n"
        "from effsearch.training.supernet.trainer import train\n"
        "from searchspace import SearchSpace\n"
        f"recipe = recipes.load('supernet').replace(**{SMALL!r})\n"
        f"train(SupernetConfig(SearchSpace.load('tiny'), Path({str(tree)!r}),\n"
        f"    Path({str(tmp_path / 'two')!r}), recipe, device='cpu'))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=300)
    held = states.load(tmp_path / "two" / CHECKPOINT)
    assert held.step == 6
    assert held.training["processes"] == 2
    assert all(value.isfinite().all() for value in held.weights.values())


def test_every_type_is_trained_equally_often():
    space = SearchSpace.load("supernet")
    sampler, found = Sampler(space, seed=0, random_networks=2), Counter()
    first = None
    for step in range(42):
        sandwich = sampler.sandwich(step)
        first = first or sandwich
        for architecture in (sandwich.teacher, *sandwich.students):
            assert architecture in space
            found["stem", architecture.stem.type] += 1
            for index, stage in enumerate(architecture.stages):
                found[index, stage.blocks[0].type] += 1
    assert {found["stem", t] for t in space.spec.stems} == {42}
    for index in range(3):
        counts = [found[index, type_] for type_ in space.spec.stages[index].blocks]
        assert max(counts) - min(counts) <= 1
    again = Sampler(space, seed=0, random_networks=2)
    assert again.sandwich(0) == first
    assert Sampler(space, seed=1).sandwich(0) != first


def test_sandwiches_hold_a_large_and_a_small_network():
    sampler = Sampler(SearchSpace.load("supernet"), seed=0)
    for step in range(5):
        sandwich = sampler.sandwich(step)
        smallest = sandwich.students[-1]
        assert sandwich.teacher.depth > smallest.depth
        assert {b.depth for s in smallest.stages[:2] for b in s.blocks} == {1}


def test_warm_up_opens_depths_before_other_sizes():
    space = SearchSpace.load("supernet")
    sampler = Sampler(space, seed=0, warmup_steps=20)
    largest = {stage.width[-1] for stage in space.spec.stages}
    assert [sampler.networks(step) for step in (0, 9, 10, 19, 20)] == [1, 1, 4, 4, 4]
    widths, depths, later = set(), set(), set()
    for step in range(40):
        sandwich = sampler.sandwich(step)
        assert len(sandwich.students) + 1 == sampler.networks(step)
        for architecture in (sandwich.teacher, *sandwich.students):
            found = {stage.width for stage in architecture.stages}
            (widths if step < 20 else later).update(found)
            if 10 <= step < 20:
                depths |= {stage.depth for stage in architecture.stages}
    assert widths <= largest
    assert len(depths) > 3
    assert later - largest


def test_cost_limit_holds_and_cost_is_close_to_macs():
    space = SearchSpace.load("supernet")
    sampler = Sampler(space, seed=0, cost_limit=1600)
    for step in range(4):
        sandwich = sampler.sandwich(step)
        for architecture in (sandwich.teacher, *sandwich.students):
            assert cost_of(architecture) <= 1600
    rng = np.random.default_rng(0)
    for _ in range(3):
        architecture = space.sample(rng)
        macs = sum(o.macs for o in operators(architecture, "train")) / 1e6
        assert 0.7 * macs < cost_of(architecture) < 1.05 * macs


def test_space_data_round_trips():
    for name in ("tiny", "mobile", "supernet"):
        space = SearchSpace.load(name)
        assert parse_space(states.space_data(space)) == space.spec


def test_checkpoint_of_another_space_names_the_difference(config):
    train(config(stop_after=1), silent)
    data = states.space_data(SearchSpace.load("tiny"))
    data["stages"][1]["width"] = [32, 48]
    other = SearchSpace(parse_space(data))
    with pytest.raises(UserError, match=r"stages\[1\]\.width is \[32, 64\] there and \[32, 48\]"):
        train(config(space=other, resume=True), silent)
    with pytest.raises(UserError, match=r"exists: resume it with --resume"):
        train(config(), silent)
    with pytest.raises(UserError, match="begun with random_networks 2, not 1"):
        train(config(resume=True, random_networks=1), silent)
    with pytest.raises(UserError, match="another recipe"):
        train(config(resume=True, recipe=config().recipe.replace(learning_rate=1e-4)), silent)


def test_out_of_memory_says_the_batch_size(config, monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(SupernetStep, "run", fail)
    with pytest.raises(UserError, match=r"batch size 16 .*--batch-size 8"):
        train(config(), silent)


def test_nan_fails_the_work(config, monkeypatch):
    def poison(step, *arguments):
        step.loss_sum.add_(float("nan"))
        step.count += 1

    monkeypatch.setattr(SupernetStep, "run", poison)
    with pytest.raises(WorkFailedError, match="NaN"):
        train(config(), silent)


def test_recalibration_takes_the_mean_over_the_batches(config):
    space = SearchSpace.load("tiny")
    recipe = config().recipe
    torch.manual_seed(0)
    network = build(space.sample(np.random.default_rng(0)), 3).eval()
    pictures = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    first = network.stem[0].norm
    recalibrate(network, pictures.split(32), recipe, torch.device("cpu"), 32)
    assert not network.training
    assert first.momentum == 0.1
    seen = []
    hook = network.stem[0].conv.register_forward_hook(
        lambda m, i, o: seen.append(o.mean((0, 2, 3)))
    )
    from effsearch.training.data.augment import prepare

    with torch.no_grad():
        network(prepare(pictures, 32))
    hook.remove()
    torch.testing.assert_close(first.running_mean, seen[0], rtol=0, atol=1e-5)


def test_scores_are_of_members_and_repeat(config, tree):
    result = train(config(), silent)
    options = SupernetOptions(
        checkpoint=result.checkpoint, data=tree, recalibration_batches=1, device="cpu"
    )
    source = SupernetScore(options)
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(0))
    score = source.score(architecture)
    assert 0 <= score.score <= 100
    assert score.std > 0
    again = SupernetScore(options)
    assert again.score(architecture) == score
    with pytest.raises(UserError, match="not in the space tiny"):
        again.inherited.network(zoo.load("shvit_s1"))


def test_minutes_are_turned_into_epochs_that_resuming_keeps(config, tmp_path, monkeypatch):
    lines = []
    whole = train(config(minutes=0.02), lines.append)
    epochs = states.load(whole.checkpoint).recipe.epochs
    assert any(f"{epochs} epochs of 3 steps" in line for line in lines)
    assert whole.steps == 3 * epochs
    train(config(minutes=0.02, out=tmp_path / "parts", stop_after=1), silent)
    epochs = states.load(tmp_path / "parts" / CHECKPOINT).recipe.epochs
    monkeypatch.setattr(plan, "fit_epochs", lambda *a: pytest.fail("measured again"))
    rest = train(config(minutes=0.02, out=tmp_path / "parts", resume=True), silent)
    assert rest.steps == 3 * epochs


PUBLISHED = Path(__file__).parents[3] / "searchspace" / "published.yaml"


def test_published_weights_land_in_their_slices():
    torch.manual_seed(0)
    space = SearchSpace.load(PUBLISHED)
    architecture = zoo.load("shvit_s1")
    network = build(architecture, 10)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.1, 0.2)
    supernet = Supernet(space, 10)
    copied, total = seed(supernet, network)
    assert copied == total
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(supernet.eval().activate(architecture)(x), network.eval()(x))
    # Another number of classes: all but the classifier.
    copied, total = seed(Supernet(space, 7), network)
    assert 0 < total - copied <= 10 * 400


def evidence_arguments(tree, tmp_path):
    space = SearchSpace.load("tiny")
    folder = tmp_path / "architectures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        space.sample(rng).to_yaml(folder / f"a{index}.yaml")
    zoo.load("shvit_s1").to_yaml(folder / "outsider.yaml")
    changes = [f"{name}={value}" for name, value in SMALL.items()]
    arguments = ["--space", "tiny", "--data", str(tree), "--out", str(tmp_path / "out")]
    arguments += ["--architectures", str(folder), "--finetune", "1", "--finetune-epochs", "1"]
    return [*arguments, "--set", *changes]


def test_evidence_writes_its_tables_once(tree, tmp_path):
    arguments = evidence_arguments(tree, tmp_path)
    assert evidence(arguments) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "inherited.csv").open()))
    assert {row["architecture"] for row in rows} == {"a0", "a1", "a2"}
    tuned = list(csv.DictReader((tmp_path / "out" / "finetuned.csv").open()))
    assert [row["start"] for row in tuned] == ["inherited", "scratch"]
    assert tuned[0]["steps"] == tuned[1]["steps"]
    before = (tmp_path / "out" / "inherited.csv").read_bytes()
    assert evidence(arguments) == 0
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["training"]["steps"] == states.load(tmp_path / "out" / CHECKPOINT).step
    assert report["training"]["recipe"]["batch_size"] == SMALL["batch_size"]
    assert (tmp_path / "out" / "inherited.csv").read_bytes() == before


def test_exported_networks_classify_as_stated(make_tree, tmp_path):
    tree = make_tree(tmp_path / "images", val=20)  # 60 images: a batch of 50 and some left out
    assert evidence(evidence_arguments(tree, tmp_path)) == 0
    paths = sorted((tmp_path / "out" / "networks").glob("*.pt"))
    rows = [check(path, tree, 64, None) for path in paths]
    assert len(rows) == 2
    for row in rows:
        assert row["images"] == 50
        assert row["same_class"] == 100
        assert row["onnx_top1"] == row["torch_top1"]
        assert row["largest_difference"] < 1e-3


def test_members_of_several_resolutions_keep_their_proportions():
    data = states.space_data(SearchSpace.load("tiny"))
    space = SearchSpace(parse_space({**data, "resolution": [64, 96]}))
    rng = np.random.default_rng(0)
    sides = {
        (a.resolution, resolution_of(a, space, 48)) for a in (space.sample(rng) for _ in range(20))
    }
    assert sides == {(64, 32), (96, 48)}
    recipe = recipes.load("supernet").replace(**SMALL)
    supernet = Supernet(space, 3).train()
    step = SupernetStep(supernet, recipe, lambda count: 1e-3, torch.device("cpu"), seed=0)
    seen = set()
    hook = supernet.register_forward_pre_hook(lambda m, inputs: seen.add(inputs[0].shape[-1]))
    pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    sampler = Sampler(space, seed=0)
    for number in range(3):
        step.run(pictures, torch.arange(8) % 3, sampler.sandwich(number), 48)
    hook.remove()
    assert seen == {32, 48}
    assert step.count == 3
