"""Images with masks: what is read, what is refused, and that masks follow their images."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from effsearch.training.data.mask_augment import MaskAugmenter, prepare_whole
from effsearch.training.data.mask_pixels import MaskSource
from effsearch.training.data.masks import IGNORED, MaskReader, open_masks
from effsearch.training.recipe import Recipe
from searchspace.errors import UserError
from tests.fixtures.tasks import write_masks

CPU = torch.device("cpu")


@pytest.fixture
def masks(tmp_path):
    return write_masks(tmp_path / "data", train=6, val=3)


def as_zip(root):
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*")):
            file.write(path, path.relative_to(root))
    return archive


def pixels(reader, side=(24, 32)):
    found = MaskSource(reader, side, CPU).batches(torch.arange(len(reader)), len(reader))
    return next(iter(found))


def test_a_folder_and_its_zip_hold_the_same(masks):
    here, there = MaskReader(masks, "train"), MaskReader(as_zip(masks), "train")
    assert here.classes == there.classes == ("ground", "box", "crate")
    assert len(here) == len(there) == 6
    for mine, other in zip(pixels(here), pixels(there), strict=True):
        assert torch.equal(mine, other)
    moved = pickle.loads(pickle.dumps(there))
    assert np.array_equal(moved.mask(2, 32), there.mask(2, 32))


def test_pixels_are_those_of_the_files(masks):
    images, numbers = pixels(MaskReader(masks, "val"))
    for index in range(3):
        image = np.asarray(Image.open(masks / f"val/images/{index:02}.png"))
        mask = np.asarray(Image.open(masks / f"val/masks/{index:02}.png"))
        assert np.array_equal(images[index].permute(1, 2, 0), image)
        assert np.array_equal(numbers[index], mask)


def test_a_palette_holds_numbers(masks):
    path = masks / "train/masks/01.png"
    plain = Image.open(path)
    before = np.array(plain)
    palette = Image.fromarray(before, mode="P")
    palette.putpalette([7, 80, 200] * 256)
    palette.save(path)
    assert np.array_equal(MaskReader(masks, "train").mask(1, (24, 32)), before)


def test_other_proportions_are_fitted_whole_with_a_rim_of_no_class(masks):
    reader = MaskReader(masks, "train")
    image, mask = reader.image(0, 96), reader.mask(0, 96)
    assert image.shape == (3, 96, 96)
    inner = slice(12, 84)  # 24x32 enlarged to 72x96
    assert (mask[:12] == IGNORED).all()
    assert (mask[84:] == IGNORED).all()
    assert np.array_equal(mask[inner][1::3, 1::3], reader.mask(0, (24, 32)))
    assert image[:, :12].std(axis=(1, 2)).max() == 0


def test_without_change_of_scale_nothing_is_changed(masks):
    recipe = Recipe(crop_scale_min=1.0, crop_ratio_max=1.0, flip=False)
    images, numbers = pixels(MaskReader(masks, "train"))
    x, targets = MaskAugmenter(recipe, 3, CPU)(images, numbers, (24, 32))
    torch.testing.assert_close(x, prepare_whole(images, (24, 32)), atol=1e-4, rtol=1e-4)
    assert torch.equal(targets, numbers.long())


@pytest.mark.parametrize("seed", range(5))
def test_masks_follow_their_images(seed):
    """Images whose colour is their mask's number stay so, but where a border is blended."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 3, (4, 6, 8), generator=generator, dtype=torch.uint8)
    numbers = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    images = (numbers * 100).unsqueeze(1).expand(4, 3, 96, 128).contiguous()
    recipe = Recipe(crop_scale_min=0.25, crop_scale_max=4.0)
    x, targets = MaskAugmenter(recipe, 3, CPU, generator)(images, numbers, (48, 64))
    shade = x[:, 0] * 0.229 + 0.485  # of the first channel, undone
    counted = targets != IGNORED
    assert 0.2 < counted.float().mean() < 1  # some of every batch is beyond the image
    off = (shade[counted] * 255 / 100 - targets[counted]).abs()
    assert (off < 0.05).float().mean() > 0.7
    assert float(x.permute(0, 2, 3, 1)[~counted].abs().median()) == 0


def spoil_size(root):
    path = root / "train/masks/02.png"
    Image.open(path).resize((16, 12)).save(path)


def spoil_number(root):
    Image.fromarray(np.full((24, 32), 7, np.uint8)).save(root / "val/masks/01.png")


def spoil_colours(root):
    Image.new("RGB", (32, 24)).save(root / "val/masks/01.png")


def spoil_missing(root):
    for index in range(1, 5):
        (root / f"train/masks/0{index}.png").unlink()


def spoil_no_image(root):
    (root / "val/images/01.png").unlink()


def spoil_no_masks(root):
    (root / "val/masks").rename(root / "val/labels")


def spoil_no_split(root):
    (root / "val").rename(root / "test")


def spoil_twice(root):
    Image.open(root / "train/images/01.png").save(root / "train/images/01.jpg")


def spoil_one_class(root):
    for path in (root / "train/masks").iterdir():
        Image.fromarray(np.ones((24, 32), np.uint8)).save(path)


def spoil_no_class(root):
    for path in (root / "train/masks").iterdir():
        Image.fromarray(np.full((24, 32), 255, np.uint8)).save(path)


def spoil_names(text):
    def spoil(root):
        (root / "classes.txt").write_bytes(text)

    return spoil


def spoil_no_names(root):
    (root / "classes.txt").unlink()


def spoil_file(root):
    (root / "train/images/03.png").write_bytes(b"junk")


def spoil_mask_file(root):
    path = root / "train/masks/03.png"
    path.write_bytes(path.read_bytes()[:60])


def spoil_few(root):
    for index in (1, 2):
        for folder in ("images", "masks"):
            (root / f"val/{folder}/0{index}.png").unlink()


def spoil_lossy(root):
    path = root / "train/masks/03.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


def spoil_notes(root):
    (root / "val/images/notes.txt").write_text("taken in spring")


BAD = [
    (spoil_size, r"train/masks/02\.png is 16x12 px, its image 32x24; a mask has its image's size"),
    (spoil_number, r"val/masks/01\.png has class number 7; classes\.txt names 3 classes, 0 to 2"),
    (spoil_colours, r"val/masks/01\.png is a picture in colours \(RGB\)"),
    (spoil_missing, r"train: 4 images have no mask in masks/ \(01, 02, 03 and 1 more\)"),
    (spoil_no_image, r"val: 1 masks have no image in images/ \(01\)"),
    (spoil_no_masks, r"val has no folder 'masks'"),
    (spoil_no_split, r"no folder 'val'; it must hold val/images and val/masks"),
    (spoil_twice, r"train: two files in images are named 01"),
    (spoil_one_class, r"train: the masks hold one class only \('box'\)"),
    (spoil_no_class, r"train: the masks hold no class at all"),
    (spoil_names(b"road\n"), r"classes\.txt names 1 class\(es\); segmentation needs two or more"),
    (spoil_names(b"road\nroad\ncar\n"), r"classes\.txt names road twice"),
    (spoil_names(b"\xff\xfe"), r"classes\.txt is no UTF-8 text"),
    (spoil_no_names, r"has no classes\.txt; it must name the classes"),
    (spoil_file, r"train/images/03\.png cannot be read as an image"),
    (spoil_mask_file, r"train/masks/03\.png cannot be read as an image"),
    (spoil_lossy, r"train/masks/03\.jpg is a JPEG, which changes numbers; a mask is a PNG"),
    (spoil_notes, r"val: 1 of 7 files are unreadable or no images \(val/images/notes\.txt\)"),
    (spoil_few, r"val holds 1 image\(s\) with masks; two are the least"),
]


@pytest.mark.parametrize("form", [lambda root: root, as_zip], ids=["folder", "zip"])
@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_what_is_wrong_is_named(masks, spoil, message, form):
    spoil(masks)
    root = form(masks)
    with pytest.raises(UserError, match=message):
        [MaskSource(reader, (24, 32), CPU) for reader in open_masks(root)]


def test_no_data_and_no_archive(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist; it must hold train/images"):
        open_masks(tmp_path / "nowhere")
    (tmp_path / "data.zip").write_text("no zip")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        open_masks(tmp_path / "data.zip")


def test_what_changes_while_it_is_streamed_ends_in_one_line(masks):
    source = MaskSource(MaskReader(masks, "train"), (24, 32), CPU, workers=1, resident=False)
    spoil_file(masks)
    with pytest.raises(UserError, match="an image or mask changed") as caught:
        list(source.batches(torch.arange(6), 2))
    assert "\n" not in str(caught.value)
