import zipfile

import pytest
import torch

from effsearch.training.data import images, pixels
from searchspace.errors import UserError


def test_scan_lists_classes_in_order(tree):
    train, val = images.scan(tree)
    assert train.classes == ("class0", "class1", "class2")
    assert (len(train), len(val)) == (48, 24)
    assert sorted(set(train.labels)) == [0, 1, 2]


def test_a_zip_archive_is_the_same_tree(tree, tmp_path):
    archive = tmp_path / "tree.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*.png")):
            file.write(path, path.relative_to(tree))
    folder, packed = images.scan(tree)[0], images.scan(archive)[0]
    assert packed.names == folder.names
    assert packed.labels == folder.labels
    assert torch.equal(pixels.load(packed, 16).images, pixels.load(folder, 16).images)


def test_missing_root(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        images.scan(tmp_path / "nowhere")


def test_missing_split(tree):
    (tree / "val").rename(tree / "test")
    with pytest.raises(UserError, match="no folder 'val'"):
        images.scan(tree)


def test_empty_tree(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        images.scan(tmp_path)


def test_empty_class(tree):
    (tree / "train" / "class9").mkdir()
    with pytest.raises(UserError, match="no images in class class9"):
        images.scan(tree)


def test_one_class(tmp_path, tree):
    for split in ("train", "val"):
        for name in ("class1", "class2"):
            (tree / split / name).rename(tmp_path / f"{split}-{name}")
    with pytest.raises(UserError, match="one class"):
        images.scan(tree)


def test_differing_classes(tree):
    (tree / "val" / "class2").rename(tree / "val" / "other")
    with pytest.raises(UserError, match="val lacks class2; train lacks other"):
        images.scan(tree)


def test_a_file_is_no_tree(tmp_path):
    path = tmp_path / "data.zip"
    path.write_text("not an archive")
    with pytest.raises(UserError, match="neither a directory nor a readable zip"):
        images.scan(path)


def test_too_many_non_images(tree):
    for index in range(3):
        (tree / "train" / "class0" / f"{index}.txt").write_text("x")
    with pytest.raises(UserError, match=r"3 of 51 files .*0\.txt.* at most 1 %"):
        images.scan(tree)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 2]])
def test_labels_out_of_range(labels):
    with pytest.raises(UserError, match="out of range; a network of 3 classes takes 0 to 2"):
        images.check_labels(torch.tensor(labels), 3)
    images.check_labels(torch.tensor([0, 1, 2]), 3)
