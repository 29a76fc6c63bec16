import pytest

from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.targets import load_architecture, load_target
from searchspace import UserError, build, operators, zoo


def test_the_three_kinds_of_target_have_the_same_operators(tmp_path):
    architecture = zoo.load("efficientvit_b0")
    yaml_path, onnx_path = tmp_path / "a.yaml", tmp_path / "a.onnx"
    architecture.to_yaml(yaml_path)
    onnx_path.write_bytes(to_onnx(build(architecture)).SerializeToString())
    wanted = [(o.kind, o.macs) for o in operators(architecture, "deploy")]
    for text in ("efficientvit_b0", str(yaml_path), str(onnx_path)):
        assert [(o.kind, o.macs) for o in load_target(text).operators()] == wanted
    assert load_architecture(str(yaml_path)) == architecture


def test_what_is_no_target_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"did you mean shvit_s1\?"):
        load_target("shvit_s11")
    with pytest.raises(UserError, match="no such ONNX file"):
        load_target("missing.onnx")
    with pytest.raises(UserError, match="no such architecture file"):
        load_target("missing.yaml")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="not an ONNX file"):
        load_architecture(str(tmp_path / "a.onnx"))
