"""The evaluation's networks read from files with their published layouts."""

import numpy as np
import pytest
import recipe

from panojax.converters import metric_networks
from panojax.converters.metric_networks import read_deeplab, read_inception, read_ir101, read_ir_se50
from panojax.errors import InputError
from panojax.params import count


def deeplab_layout(*, auxiliary=True):
    """{name: shape} of torchvision's deeplabv3_resnet101_coco-586e9e4e.pth."""
    shapes = {}

    def conv(name, inputs, outputs, side):
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)

    def norm(name, width):
        shapes.update({f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    conv("backbone.conv1", 3, 64, 7)
    norm("backbone.bn1", 64)
    inputs = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 23), (512, 3)), 1):
        for i in range(blocks):
            block = f"backbone.layer{layer}.{i}"
            for j, (a, b, side) in enumerate(((inputs, width, 1), (width, width, 3), (width, 4 * width, 1)), 1):
                conv(f"{block}.conv{j}", a, b, side)
                norm(f"{block}.bn{j}", b)
            if i == 0:
                conv(f"{block}.downsample.0", inputs, 4 * width, 1)
                norm(f"{block}.downsample.1", 4 * width)
            inputs = 4 * width
    for i, side in enumerate((1, 3, 3, 3)):
        conv(f"classifier.0.convs.{i}.0", 2048, 256, side)
        norm(f"classifier.0.convs.{i}.1", 256)
    for name, width, side in (("0.convs.4.1", 2048, 1), ("0.project.0", 1280, 1), ("1", 256, 3)):
        conv(f"classifier.{name}", width, 256, side)
    for name in ("0.convs.4.2", "0.project.1", "2"):
        norm(f"classifier.{name}", 256)
    heads = [("classifier.4", 256)]
    if auxiliary:
        conv("aux_classifier.0", 1024, 256, 3)
        norm("aux_classifier.1", 256)
        heads.append(("aux_classifier.4", 256))
    for name, width in heads:
        conv(name, width, 21, 1)
        shapes[f"{name}.bias"] = (21,)
    return shapes


def golden_layout(tag):
    return {row["name"]: tuple(row["shape"]) for row in recipe.manifest(tag)["tensors"]}


def contents(monkeypatch, shapes):
    """Makes any file hold tensors of these shapes, which take no memory."""
    tensors = {name: np.broadcast_to(np.float32(0.5), shape) for name, shape in shapes.items()}
    monkeypatch.setattr(metric_networks, "read_tensors", lambda path: tensors)


def parameters(shapes):
    return sum(int(np.prod(s)) for n, s in shapes.items() if not n.endswith(("mean", "var", "num_batches_tracked")))


def test_the_layout_has_torchvision_s_number_of_parameters():
    """60,996,202 is what torchvision states."""
    assert parameters(deeplab_layout()) == 60_996_202


@pytest.mark.parametrize(
    ("read", "shapes"),
    [
        (read_deeplab, deeplab_layout()),
        (read_inception, golden_layout("fid_inception")),
        (read_ir101, golden_layout("arcface_ir101")),
    ],
)
def test_published_layouts_are_read(monkeypatch, read, shapes):
    contents(monkeypatch, shapes)
    variables = read("file.pth")
    kept = {name: shape for name, shape in shapes.items() if not name.startswith("aux_classifier.")}
    assert count(variables["params"]) == parameters(kept)


def test_other_networks_are_refused(monkeypatch):
    contents(monkeypatch, golden_layout("arcface_ir_se50"))
    with pytest.raises(InputError, match=r"CurricularFace IR-101: the state dict does not fit .* unused: .*fc1"):
        read_ir101("model_ir_se50.pth")
    lacking = {name: shape for name, shape in deeplab_layout().items() if name != "classifier.4.bias"}
    contents(monkeypatch, lacking)
    with pytest.raises(InputError, match=r"DeepLabv3 ResNet-101: .* 1 missing: classifier\.4\.bias \(21,\)$"):
        read_deeplab("deeplab.pth")


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.pth: expected a file, got nothing there"):
        read_ir_se50("nowhere.pth")
