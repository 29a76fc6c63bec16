import pytest
import torch

from effsearch.training import checkpoint as checkpoints
from effsearch.training.checkpoint import Checkpoint, load_network, save_tensors
from effsearch.training.cost import build_network
from effsearch.training.recipe import Recipe
from searchspace import Architecture
from searchspace.errors import UserError


@pytest.fixture
def held(architectures):
    architecture = Architecture.from_yaml(architectures / "tiny16.yaml")
    network = build_network(architecture, 3, seed=5)
    return Checkpoint(
        architecture=architecture.to_yaml(),
        digest=architecture.digest(),
        state_dict=network.state_dict(),
        classes=("a", "b", "c"),
        recipe=Recipe(epochs=4),
        epoch=4,
        top1=50.0,
        training={},
    )


def test_a_saved_network_comes_back(held, tmp_path):
    held.save(tmp_path / "model.pt")
    loaded = checkpoints.load(tmp_path / "model.pt")
    assert (loaded.classes, loaded.recipe, loaded.top1) == (held.classes, held.recipe, 50.0)
    network = load_network(tmp_path / "model.pt").build()
    for key, value in network.state_dict().items():
        assert torch.equal(value, held.state_dict[key])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_another_architecture_is_refused(held, architectures):
    other = build_network(Architecture.from_yaml(architectures / "tiny24.yaml"), 3)
    with pytest.raises(UserError, match="of another architecture than tiny24"):
        held.load_into(other, "tiny24")


def test_a_failed_write_leaves_the_old_file(held, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    held.save(path)
    before = path.read_bytes()

    def fail(values, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        held.save(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["architectures", "model.pt"]


def test_missing_damaged_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        checkpoints.load(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("epochs: 30\nbatch_size: 16\n")
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        checkpoints.load(tmp_path / "text.pt")
    (tmp_path / "bad.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        checkpoints.load(tmp_path / "bad.pt")
    save_tensors({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="no effsearch checkpoint"):
        checkpoints.load(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "of version 2; this program reads 1"),
        ({"epoch": "last"}, r"model\.pt: epoch: 'last' is not a whole number"),
        ({"recipe": {"epochs": 0}}, r"model\.pt: recipe\.epochs: 0 is not 1 or more"),
        ({"state_dict": None}, r"model\.pt: state_dict: None is not an object"),
    ],
)
def test_a_wrong_field_is_named(held, tmp_path, change, message):
    held.save(tmp_path / "model.pt")
    values = checkpoints.load_tensors(tmp_path / "model.pt")
    save_tensors({**values, **change}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=message):
        checkpoints.load(tmp_path / "model.pt")
