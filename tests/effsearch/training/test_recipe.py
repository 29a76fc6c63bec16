import pytest

from effsearch.training import recipe as recipes
from effsearch.training.recipe import Recipe
from searchspace.errors import UserError


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipes_survive_yaml(name, tmp_path):
    shipped = recipes.load(name)
    assert shipped.name == name
    shipped.to_yaml(tmp_path / "copy.yaml")
    assert recipes.load(str(tmp_path / "copy.yaml")) == shipped


def test_digest_ignores_the_name_only():
    base = Recipe()
    assert base.replace(name="other").digest() == base.digest()
    assert base.replace(epochs=7).digest() != base.digest()


def test_early_epochs_run_at_the_early_side():
    recipe = Recipe(epochs=4, image_side=128, early_side=96, early_fraction=0.5)
    assert [recipe.side_at(epoch) for epoch in range(4)] == [96, 96, 128, 128]
    assert Recipe(epochs=4, image_side=128).side_at(0) == 128


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epoch": 3}, "recipe.epoch: is unknown; use name, epochs"),
        ({"epochs": "many"}, "recipe.epochs: 'many' is not a whole number"),
        ({"epochs": 0}, "recipe.epochs: 0 is not 1 or more"),
        ({"label_smoothing": 1.5}, "label_smoothing: 1.5 is not at most 1"),
        ({"crop_scale_min": 0.5, "crop_scale_max": 0.2}, "max: 0.2 is below crop_scale_min, 0.5"),
        ({"precision": "float16"}, "precision: 'float16' is not 'float32' or 'bfloat16'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(UserError, match=message):
        Recipe.from_dict(fields)


def test_unknown_name_lists_the_shipped_ones():
    with pytest.raises(UserError, match="neither a file nor one of evidence"):
        recipes.load("nothing")


def test_a_side_of_its_own_keeps_sources_a_little_larger_but_where_they_are_enlarged():
    shrinks, enlarges = (
        Recipe(image_side=224, source_side=256),
        Recipe(image_side=128, source_side=64),
    )
    assert shrinks.at_side(None) is shrinks
    assert (shrinks.at_side(112).image_side, shrinks.at_side(112).source_side) == (112, 128)
    assert (enlarges.at_side(96).image_side, enlarges.at_side(96).source_side) == (96, 64)
    assert shrinks.at_side(112).early_side == 0


def test_a_rectangle_keeps_its_proportions_from_the_file_to_the_network(tmp_path):
    shrinks = Recipe(image_side=224, source_side=256).at_side("112x224")
    assert (shrinks.image_side, shrinks.source_side) == ((112, 224), (128, 256))
    assert shrinks.pixels_at(0) == 112 * 224
    enlarges = Recipe(image_side=128, source_side=64).at_side((512, 1024))
    assert enlarges.source_side == (45, 91)  # as many pixels as 64x64
    shrinks.to_yaml(tmp_path / "wide.yaml")
    assert Recipe.from_yaml(tmp_path / "wide.yaml") == shrinks
    assert shrinks.at_side(112) == Recipe(image_side=112, source_side=128)
    with pytest.raises(UserError, match=r"recipe.image_side: \[1, 2, 3\] is not a whole number"):
        Recipe.from_dict({"image_side": [1, 2, 3]})


def test_a_change_out_of_range_is_a_mistake_too():
    with pytest.raises(UserError, match="batch_size: 0 is not 1 or more"):
        Recipe().replace(batch_size=0)


def test_a_file_names_itself_and_its_field(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text("epochs: 0")
    with pytest.raises(UserError, match=r"quick\.yaml: epochs: 0 is not 1 or more"):
        Recipe.from_yaml(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"quick\.yaml: .* is not an object"):
        Recipe.from_yaml(path)
    path.write_text("")
    assert Recipe.from_yaml(path) == Recipe(name="quick")


@pytest.mark.parametrize("side", [1, 31, 2049, 10**9])
def test_a_resolution_that_no_network_takes_is_refused(side):
    with pytest.raises(UserError, match=f"--resolution: {side}"):
        Recipe().at_side(side)


def test_a_field_that_came_later_leaves_older_digests_as_they_were():
    recipe = recipes.load("evidence-cpu")
    assert recipe.digest() == "a6846283"  # as results/accuracy has it from before
    assert recipe.replace(crop_scale_max=2.0).digest() != recipe.digest()
