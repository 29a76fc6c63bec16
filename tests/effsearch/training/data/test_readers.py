"""The contract of every kind of reader, the two kinds of this package, and a third one."""

import json
import pickle
import re
import zipfile
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from effsearch.training.data import pixels, readers
from effsearch.training.data.pixels import decode_image
from effsearch.training.data.reader import ImageReader, check_labels
from effsearch.training.data.readers import create_reader, create_readers
from effsearch.training.trainer import TrainConfig, train
from searchspace import Architecture
from searchspace.errors import UserError


class Sheet(ImageReader):
    """A JSON file of labelled images, as another package may have them."""

    def __init__(self, root, split):
        super().__init__(root, split)
        body = json.loads(root.read_text())
        self.classes = tuple(body["classes"])
        self.labels = tuple(label for label, _ in body[split])
        self.data = [data for _, data in body[split]]

    @classmethod
    def accepts(cls, root):
        return root.suffix == ".json"

    def read(self, index):
        return b64decode(self.data[index])

    def name(self, index):
        return f"{self.split} {index}"

    def digest(self):
        return f"{self.root.stem}-{self.split}-{self.root.stat().st_mtime_ns}"


def as_folder(tree):
    return tree


def as_zip(tree):
    archive = tree.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*")):
            file.write(path, path.relative_to(tree))
    return archive


def as_sheet(tree):
    classes = sorted(entry.name for entry in (tree / "train").iterdir())
    body = {"classes": classes}
    for split in ("train", "val"):
        body[split] = [
            (label, b64encode(path.read_bytes()).decode())
            for label, name in enumerate(classes)
            for path in sorted((tree / split / name).iterdir())
        ]
    sheet = tree.with_suffix(".json")
    sheet.write_text(json.dumps(body))
    return sheet


# How a tree of folders becomes what each kind of reader takes: a new kind adds a row.
FORMS = {"folder": as_folder, "zip": as_zip, "sheet": as_sheet}


@pytest.fixture(autouse=True)
def _third_kind(monkeypatch):
    monkeypatch.setattr(readers, "installed", lambda group: {"sheet": Sheet})


def test_every_kind_is_under_the_contract():
    assert set(FORMS) == set(readers.kinds())


@pytest.fixture(params=sorted(FORMS))
def kind(request):
    return request.param


@pytest.fixture
def source(tree, kind):
    return FORMS[kind](tree)


def test_the_path_finds_its_kind(source, kind):
    assert type(create_reader(source, "train")) is readers.kinds()[kind]


def test_classes_and_labels(source):
    train, val = create_readers(source)
    assert train.classes == val.classes == ("class0", "class1", "class2")
    assert train.labels == (0,) * 16 + (1,) * 16 + (2,) * 16
    assert (len(train), len(val)) == (48, 24)
    assert train.skipped == ()


def test_all_kinds_read_the_same_images(source, tree):
    here, there = create_reader(source, "train"), create_reader(tree, "train")
    assert [here.read(i) for i in range(48)] == [there.read(i) for i in range(48)]
    assert torch.equal(pixels.load(here, 16).images, pixels.load(there, 16).images)


def test_names_tell_images_apart(source):
    for reader in create_readers(source):
        names = [reader.name(index) for index in range(len(reader))]
        assert len(set(names)) == len(names)
        assert all(name.startswith(reader.split) and name.isprintable() for name in names)


def test_threads_and_other_processes_read_the_same(source):
    reader = create_reader(source, "val")
    reader.read(0)
    copy = pickle.loads(pickle.dumps(reader))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reader.read, range(24))) == [copy.read(i) for i in range(24)]
    assert (copy.classes, copy.labels, copy.digest()) == (
        reader.classes,
        reader.labels,
        reader.digest(),
    )


def test_the_digest_names_a_file_and_notices_changes(tree, kind):
    source = FORMS[kind](tree)
    before = [reader.digest() for reader in create_readers(source)]
    assert before == [reader.digest() for reader in create_readers(source)]
    assert len(set(before)) == 2
    assert all(re.fullmatch(r"[\w.-]{1,100}", digest) for digest in before)
    (tree / "train" / "class1" / "new.png").write_bytes((tree / "val/class1/0.png").read_bytes())
    assert create_reader(FORMS[kind](tree), "train").digest() != before[0]


def test_images_decode(source):
    reader = create_reader(source, "train")
    decoded = decode_image(reader.read(20), 8)
    assert decoded.shape == (3, 8, 8)
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("kind", ["sheet"], indirect=True)
def test_a_network_trains_from_a_third_kind(source, tree, architectures, quick, tmp_path):
    def trained(data, out):
        architecture = Architecture.from_yaml(architectures / "tiny16.yaml")
        config = TrainConfig(architecture, data, tmp_path / out, quick, device="cpu")
        return train(config, lambda line: None).curve

    assert trained(source, "a") == trained(tree, "b")


def test_missing_root(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        create_readers(tmp_path / "nowhere")


@pytest.mark.parametrize("form", [as_folder, as_zip])
def test_missing_split(tree, form):
    (tree / "val").rename(tree / "test")
    with pytest.raises(UserError, match="no folder 'val'"):
        create_readers(form(tree))


def test_empty_tree(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        create_readers(tmp_path)


def test_empty_class(tree):
    (tree / "train" / "class9").mkdir()
    with pytest.raises(UserError, match="no images in class class9"):
        create_readers(tree)


def test_one_class(tmp_path, tree):
    for split in ("train", "val"):
        for name in ("class1", "class2"):
            (tree / split / name).rename(tmp_path / f"{split}-{name}")
    with pytest.raises(UserError, match="one class"):
        create_readers(tree)


def test_differing_classes(tree):
    (tree / "val" / "class2").rename(tree / "val" / "other")
    with pytest.raises(UserError, match="val lacks class2; train lacks other"):
        create_readers(tree)


def test_a_file_is_no_tree(tmp_path):
    path = tmp_path / "data.zip"
    path.write_text("not an archive")
    with pytest.raises(UserError, match="neither a directory nor a readable zip"):
        create_readers(path)


@pytest.mark.parametrize("form", [as_folder, as_zip])
def test_too_many_non_images(tree, form):
    for index in range(3):
        (tree / "train" / "class0" / f"{index}.txt").write_text("x")
    with pytest.raises(UserError, match=r"3 of 51 files .*train/class0/0\.txt.* at most 1 %"):
        create_readers(form(tree))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 2]])
def test_labels_out_of_range(labels):
    with pytest.raises(UserError, match="out of range; a network of 3 classes takes 0 to 2"):
        check_labels(torch.tensor(labels), 3)
    check_labels(torch.tensor([0, 1, 2]), 3)
