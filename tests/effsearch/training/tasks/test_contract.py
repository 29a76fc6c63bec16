"""What holds for every task; a new one adds a row to `tests.fixtures.tasks.ROWS`."""

import dataclasses
import math

import pytest
import torch

from effsearch.training import checkpoint as checkpoints
from effsearch.training import recipe as recipes
from effsearch.training.config import TrainConfig
from effsearch.training.cost import build_network
from effsearch.training.start_from import StartFrom
from effsearch.training.tasks.registry import TASKS, task_named
from effsearch.training.trainer import train
from searchspace import UserError
from searchspace.resolution import height_width
from tests.fixtures.tasks import ROWS, network

CPU = torch.device("cpu")


def test_every_task_is_under_the_contract():
    assert set(ROWS) == set(TASKS)
    assert len({task.key for task in TASKS.values()}) == len(TASKS)
    with pytest.raises(UserError, match=f"--task: depth is unknown; use one of {min(TASKS)}"):
        task_named("depth")


@pytest.fixture(params=sorted(ROWS))
def task(request):
    return TASKS[request.param]


@pytest.fixture
def row(task):
    return ROWS[task.name]


@pytest.fixture
def data(row, tmp_path):
    return row.write(tmp_path / "data")


@pytest.fixture
def config(task, row, data, tmp_path):
    return lambda **changes: TrainConfig(
        **{
            "architecture": network(task.name),
            "data": data,
            "out": tmp_path / "out",
            "recipe": row.recipe,
            "device": "cpu",
            "data_workers": 0,
            **changes,
        }
    )


def backbone(path):
    return StartFrom(str(path), backbone=True)


def silent(line):
    del line


def source(task, row, data, resident=True):
    split, _ = task.open(data)
    return split.source(row.recipe.source_side, CPU, 0, resident)


def test_splits_have_the_same_classes_and_notice_changes(task, data):
    train_images, val_images = (split.reader for split in task.open(data))
    assert train_images.classes == val_images.classes
    assert len(train_images) > len(val_images) > 0
    before = val_images.digest()
    assert train_images.digest() == task.open(data)[0].reader.digest() != before
    file = next((data / "val").rglob("*.png"))
    file.write_bytes(file.read_bytes() + b"more")
    assert task.open(data)[1].reader.digest() != before


def test_batches_come_in_the_order_asked_for_streamed_or_not(task, row, data):
    order = torch.tensor([3, 0, 7, 5])
    kept, streamed = (
        list(source(task, row, data, resident).batches(order, 3)) for resident in (True, False)
    )
    assert [len(images) for images, _ in kept] == [3, 1]
    for (images, targets), (other, others) in zip(kept, streamed, strict=True):
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, *height_width(row.recipe.source_side))
        assert torch.equal(images, other)
        assert torch.equal(targets, others)
    assert torch.equal(kept[0][0][1], next(source(task, row, data).batches(order[1:], 1))[0][0])


def test_loss_is_finite_and_augmentation_follows_its_generator(task, row, data):
    images, targets = next(source(task, row, data).batches(torch.arange(6), 6))
    classes = len(task.open(data)[0].reader.classes)
    architecture = task.fitted(network(task.name), row.recipe, classes)
    net = build_network(architecture, classes)
    losses = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        augment = task.augmenter(row.recipe, classes, CPU, generator)
        x, wanted = augment(images, targets, row.recipe.image_side)
        assert x.shape == (6, 3, *height_width(row.recipe.image_side))
        losses.append(task.loss(row.recipe)(net(x), wanted))
    assert losses[0].shape == ()
    assert torch.isfinite(losses[0])
    # Nothing is learnt yet: every class is as likely as any other.
    assert losses[0].item() == pytest.approx(math.log(classes), rel=0.2)
    assert losses[0] == losses[1] != losses[2]


def test_an_evaluation_names_the_metric_first_and_puts_the_mode_back(task, row, data):
    classes = len(task.open(data)[0].reader.classes)
    net = build_network(network(task.name), classes).train()
    held = source(task, row, data)
    found = [
        task.evaluate(net, held.batches(torch.arange(len(held)), size), row.recipe, CPU)
        for size in (2, 5)
    ]
    assert next(iter(found[0])) == task.key
    assert 0 <= found[0][task.key] <= 100
    assert found[0]["val_loss"] > 0
    assert found[0] == pytest.approx(found[1])  # however images are batched
    assert net.training


def test_its_recipes_suit_it(task):
    for name in (task.recipe, *task.refine_recipes):
        task.check_recipe(recipes.load(name))


def test_networks_for_others_are_refused(task):
    task.check("mine", network(task.name))
    for other in set(TASKS) - {task.name}:
        with pytest.raises(UserError, match=f"mine: a {other} network, and --task {task.name}"):
            task.check("mine", network(other))


def test_training_learns(task, row, config):
    result = train(config(recipe=row.recipe.replace(epochs=16)), silent)
    assert result.metrics[task.key] > row.learnt
    assert result.curve[-1].value == result.metrics[task.key]
    assert result.curve[-1].loss < result.curve[0].loss
    held = checkpoints.load(result.checkpoint)
    assert held.metrics == result.metrics
    assert held.top1 == pytest.approx(result.top1, nan_ok=True)
    stored = checkpoints.load_network(result.checkpoint)
    assert stored.architecture.task == task.name
    assert stored.architecture.num_classes == len(held.classes) or task.name == "classification"
    assert stored.build()(torch.zeros(1, 3, 64, 64)).shape[1] == len(held.classes)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_a_resumed_training_equals_an_uninterrupted_one(task, config, tmp_path, resident):
    whole = train(config(out=tmp_path / "whole", resident=resident), silent)
    train(config(out=tmp_path / "parts", resident=resident, stop_after=1), silent)
    parts = train(config(out=tmp_path / "parts", resident=resident, resume=True), silent)
    one, other = (checkpoints.load(r.checkpoint).state_dict for r in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert parts.curve == whole.curve
    again = train(config(out=tmp_path / "parts", resident=resident, resume=True), silent)
    assert again.metrics == whole.metrics


def test_a_backbone_comes_from_any_task(task, config, tmp_path):
    for name, other in TASKS.items():
        data = ROWS[name].write(tmp_path / f"data-{name}")
        out = tmp_path / f"from-{name}"
        there = TrainConfig(network(name), data, out, ROWS[name].recipe, device="cpu")
        first = checkpoints.load(train(there, silent).checkpoint)
        # A rate of next to nothing: what the training ends with is what it began with.
        still = ROWS[task.name].recipe.replace(epochs=1, learning_rate=1e-12, ema_decay=0.0)
        result = train(
            config(out=tmp_path / f"to-{name}", start=backbone(out / "model.pt"), recipe=still),
            silent,
        )
        state = checkpoints.load(result.checkpoint).state_dict
        weights = [key for key in state if key.startswith(("stem", "stages")) and "weight" in key]
        assert weights
        for key in weights:
            torch.testing.assert_close(state[key], first.state_dict[key], atol=1e-8, rtol=0)
        assert other.key in first.metrics


def test_another_backbone_is_refused(config, tmp_path):
    train(config(stop_after=1), silent)
    given = {"out": tmp_path / "new", "start": backbone(tmp_path / "out" / "model.pt")}
    mine = config().architecture
    stem = dataclasses.replace(mine.stem, options=(("depth", 2),))
    with pytest.raises(UserError, match=r"--init-backbone: .* another backbone: its stem\.depth"):
        train(config(architecture=dataclasses.replace(mine, stem=stem), **given), silent)


def test_a_network_for_another_task_does_not_start_one(task, config, tmp_path):
    train(config(stop_after=1), silent)
    start = StartFrom(str(tmp_path / "out" / "model.pt"))
    for name in set(TASKS) - {task.name}:
        data = ROWS[name].write(tmp_path / f"data-{name}")
        other = config(architecture=network(name), data=data, recipe=ROWS[name].recipe)
        with pytest.raises(UserError, match=f"holds a {task.name} .*--init-backbone takes its"):
            train(dataclasses.replace(other, out=tmp_path / name, start=start), silent)


def test_a_start_from_another_training_of_the_task(task, config, tmp_path):
    first = train(config(), silent)
    start = StartFrom(str(first.checkpoint))
    still = config().recipe.replace(epochs=1, learning_rate=1e-12, ema_decay=0.0)
    train(config(out=tmp_path / "more", start=start, recipe=still), silent)
    one, other = (
        checkpoints.load(folder / "model.pt").state_dict
        for folder in (tmp_path / "out", tmp_path / "more")
    )
    for key in one:
        if key.startswith(("head", "laterals")) and key.endswith("weight"):
            torch.testing.assert_close(one[key], other[key], atol=1e-8, rtol=0)
