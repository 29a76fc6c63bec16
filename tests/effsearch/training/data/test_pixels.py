import io
import os
import zipfile

import pytest
import torch
from PIL import Image

from effsearch.training.data import pixels
from effsearch.training.data.image_folder import MAX_FILE_BYTES
from effsearch.training.data.readers import create_readers
from searchspace.errors import UserError


@pytest.fixture
def large_tree(tmp_path, make_tree):
    return make_tree(tmp_path / "large", classes=2, train=100, val=4)


def test_load_decodes_every_image(tree):
    train, _ = create_readers(tree)
    loaded = pixels.load(train, 16)
    assert loaded.images.shape == (48, 3, 16, 16)
    assert loaded.images.dtype == torch.uint8
    assert loaded.labels.tolist() == list(train.labels)
    with Image.open(tree / "train" / train.names[5]) as image:
        assert loaded.images[5, :, 2, 3].tolist() == list(image.getpixel((3, 2)))


def test_the_cache_is_read_and_notices_changes(tree):
    train, _ = create_readers(tree)
    first = pixels.load(train, 16)
    assert list(pixels.cache_dir().glob("*.npy"))
    assert torch.equal(pixels.load(train, 16).images, first.images)
    Image.new("RGB", (16, 16), "white").save(tree / "train" / train.names[0])
    assert pixels.load(train, 16).images[0].min() == 255


def test_centre_square_of_a_wide_image():
    wide = Image.new("RGB", (64, 16), "red")
    wide.paste(Image.new("RGB", (16, 16), "blue"), (24, 0))
    path = pixels.cache_dir() / "wide.png"
    path.parent.mkdir(exist_ok=True)
    wide.save(path)
    decoded = pixels.decode_image(path.read_bytes(), 8)
    assert decoded.shape == (3, 8, 8)
    assert (decoded[2] > 200).all()
    assert (decoded[0] < 50).all()


def test_centre_rectangle_of_an_image():
    tall = Image.new("RGB", (32, 64), "red")
    tall.paste(Image.new("RGB", (32, 16), "blue"), (0, 24))
    data = io.BytesIO()
    tall.save(data, "PNG")
    decoded = pixels.decode_image(data.getvalue(), (8, 16))
    assert decoded.shape == (3, 8, 16)
    assert (decoded[2] > 200).all()
    assert pixels.decode_image(data.getvalue(), (64, 32)).shape == (3, 64, 32)


def test_unreadable_files_are_counted_named_and_skipped(large_tree, capsys):
    (large_tree / "train" / "class0" / "7.png").write_bytes(b"damaged")
    train, _ = create_readers(large_tree)
    loaded = pixels.load(train, 16)
    assert len(loaded) == 199
    assert loaded.skipped == ("train/class0/7.png",)
    assert (
        "skipped 1 unreadable or non-image file(s): train/class0/7.png" in capsys.readouterr().err
    )


def test_more_than_one_percent_unreadable_is_an_error(large_tree):
    for index in range(3):
        (large_tree / "train" / "class0" / f"{index}.png").write_bytes(b"damaged")
    train, _ = create_readers(large_tree)
    with pytest.raises(UserError, match="3 of 200 files are unreadable"):
        pixels.load(train, 16)


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_gives_the_same_batches(tree, workers):
    train, _ = create_readers(tree)
    device = torch.device("cpu")
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    kept = pixels.PixelSource(train, 16, device, resident=True)
    streamed = pixels.PixelSource(train, 16, device, workers=workers, resident=False)
    pairs = list(zip(kept.batches(order, 10), streamed.batches(order, 10), strict=True))
    assert len(pairs) == 5
    for (a, labels_a), (b, labels_b) in pairs:
        assert torch.equal(a, b)
        assert torch.equal(labels_a, labels_b)


def test_streaming_skips_unreadable_files(large_tree, capsys):
    (large_tree / "train" / "class1" / "3.png").write_bytes(b"damaged")
    train, _ = create_readers(large_tree)
    source = pixels.PixelSource(train, 16, torch.device("cpu"), workers=0, resident=False)
    sizes = [len(labels) for _, labels in source.batches(torch.arange(200), 50)]
    assert sum(sizes) == 199
    assert "train/class1/3.png" in capsys.readouterr().err


def test_streaming_refuses_more_than_one_percent(large_tree):
    for index in range(3):
        (large_tree / "train" / "class0" / f"{index}.png").write_bytes(b"damaged")
    train, _ = create_readers(large_tree)
    source = pixels.PixelSource(train, 16, torch.device("cpu"), workers=0, resident=False)
    with pytest.raises(UserError, match="at most 1 %"):
        list(source.batches(torch.arange(200), 50))


def spoil(content, kind):
    """Return a zip with its member `train/class0/3.png` spoiled."""
    at = content.index(b"train/class0/3.png") - 30  # its local header
    entry = content.rindex(b"train/class0/3.png") - 46  # in the directory at the end
    data = bytearray(content)
    if kind == "corrupt":
        start = at + 30 + len("train/class0/3.png")
        data[start : start + 20] = bytes(20)
    elif kind == "encrypted":
        data[at + 6] |= 1
        data[entry + 8] |= 1
    elif kind == "unknown method":
        data[at + 8 : at + 10] = data[entry + 10 : entry + 12] = b"\x63\x00"
    return bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["corrupt", "encrypted", "unknown method"])
def test_a_bad_member_of_a_zip_is_skipped_and_named(large_tree, tmp_path, kind, method, capsys):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(large_tree.rglob("*.png")):
            archive.write(file, file.relative_to(large_tree).as_posix())
    path.write_bytes(spoil(path.read_bytes(), kind))
    train, _ = create_readers(path)
    assert len(pixels.load(train, 16)) == 199
    assert "skipped 1 unreadable" in capsys.readouterr().err


def test_a_member_that_inflates_beyond_any_image_is_not_read_whole(tree, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "val"):
            archive.writestr(f"{split}/a/0.png", bytes(MAX_FILE_BYTES + 1))
            archive.writestr(f"{split}/b/0.png", b"")
    train, _ = create_readers(path)
    with pytest.raises(OSError, match="larger than"):
        train.read(0)


@pytest.mark.parametrize("what", ["cut", "empty", "other", "index"])
def test_a_damaged_cache_is_made_again(tree, what):
    train, _ = create_readers(tree)
    first = pixels.load(train, 16)
    (array,) = pixels.cache_dir().glob("*.npy")
    if what == "index":
        array.with_suffix(".json").write_text('{"labels": [1]}')
    else:
        content = array.read_bytes()
        spoiled = {"cut": content[:-100], "empty": b"", "other": b"no array"}[what]
        array.write_bytes(spoiled)
    assert torch.equal(pixels.load(train, 16).images, first.images)
    assert torch.equal(pixels.load(train, 16).images, first.images)
    assert len(list(pixels.cache_dir().iterdir())) == 2


def test_class_folders_need_not_be_text(tree):
    (tree / "train" / "class0").rename(os.fsdecode(os.fsencode(tree / "train") + b"/cl\xff"))
    (tree / "val" / "class0").rename(os.fsdecode(os.fsencode(tree / "val") + b"/cl\xff"))
    train, _ = create_readers(tree)
    assert len(pixels.load(train, 16)) == 48
    assert len(pixels.load(train, 16).classes) == 3
