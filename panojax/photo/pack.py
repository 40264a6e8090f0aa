"""Packs the networks that `panojax.photo` ships, from the published ONNX and TFLite files.

    pip install onnx tflite
    python -m panojax.photo.pack --yunet face_detection_yunet_2023mar_int8bq.onnx \\
        --mesh face_landmark.tflite --selfie selfie_segmentation.tflite --out panojax/photo/weights

Only needed to make `weights/*.npz` anew; `weights/README.md` names the source files and their SHA-256.
"""

import argparse
import pathlib
import struct
import sys
from typing import Any

import numpy as np

from panojax.files.onnx_file import conv_options, read_model
from panojax.nn.graph import Graph, save
from panojax.terminal.process import run_process


def from_onnx(path: str) -> Graph:
    """A YuNet-like ONNX graph (NCHW) as an NHWC graph; heads keep their [H, W, C] shape."""
    model = read_model(path)
    alias: dict[str, str] = {}
    steps, weights = [], {}
    for node in model.nodes:
        name = node.output
        if node.op in ("Reshape", "Transpose"):
            alias[name] = alias.get(node.inputs[0], node.inputs[0])  # only ever flatten a head to [H * W, C]
            continue
        inputs = tuple(alias.get(i, i) for i in node.inputs if i and i not in model.constants)
        op, options, used = _onnx_step(node, model.constants)
        weights.update({f"{name}/{key}": value for key, value in used.items()})
        steps.append((op, inputs, name, tuple(f"{name}/{key}" for key in used), options))
    outputs = {alias.get(output, output): output for output in model.outputs}
    steps = [(op, i, outputs.get(out, out), w, options) for op, i, out, w, options in steps]
    return Graph(tuple(steps), weights, (model.input,), tuple(outputs.values()))


def _onnx_step(node, constants):
    """One ONNX node as (operation, options, weights)."""
    plain = {"Relu": "relu", "Sigmoid": "sigmoid", "Add": "add"}
    if node.op in plain:
        return plain[node.op], {}, {}
    options = node.attributes
    if node.op == "Conv":
        kernel = constants[node.inputs[1]]
        bias = constants[node.inputs[2]] if len(node.inputs) > 2 else np.zeros(kernel.shape[0], np.float32)
        return "conv", conv_options(options), {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias.ravel()}
    if node.op == "MaxPool":
        top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
        padding = ((0, 0), (top, bottom), (left, right), (0, 0))
        return "max_pool", {"window": options["kernel_shape"], "stride": options["strides"], "padding": padding}, {}
    if node.op == "Resize" and options["mode"] == b"nearest":
        return "resize", {"factor": int(constants[node.inputs[2]][-1]), "method": "nearest"}, {}
    raise NotImplementedError(f"operation {node.op} of {node.output}")


def from_tflite(path: str) -> Graph:
    """A TFLite graph of the operations below (NHWC, float16 weights) as a graph."""
    import tflite

    model = tflite.Model.GetRootAs(pathlib.Path(path).read_bytes(), 0)
    graph = model.Subgraphs(0)
    names = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
    constants = {
        i: value for i in range(graph.TensorsLength()) if (value := _tflite_constant(model, graph, i)) is not None
    }
    steps, weights = [], {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        custom = code.CustomCode()
        kind = custom.decode() if custom else names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs, output = list(operator.InputsAsNumpy()), int(operator.OutputsAsNumpy()[0])
        if kind == "DEQUANTIZE":
            constants[output] = constants[inputs[0]].astype(np.float32)
            continue
        shapes = [tuple(graph.Tensors(i).ShapeAsNumpy()) for i in (inputs[0], output)]
        arguments = [constants[i] for i in inputs if i in constants]
        op, options, used, activation = _tflite_step(tflite, kind, operator, arguments, shapes)
        data = tuple(str(i) for i in inputs if i not in constants)
        weights.update({f"{output}/{key}": value for key, value in used.items()})
        result = f"{output}/before" if activation else str(output)
        steps.append((op, data, result, tuple(f"{output}/{key}" for key in used), options))
        if activation:
            steps.append((activation, (result,), str(output), (), {}))
    ends: Any = [tuple(str(i) for i in numbers) for numbers in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())]
    return Graph(tuple(steps), weights, *ends)


def _tflite_constant(model, graph, index):
    tensor = graph.Tensors(index)
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    if isinstance(data, int) or not len(data):
        return None
    dtype = {0: np.float32, 1: np.float16, 2: np.int32}[tensor.Type()]
    return data.view(dtype).reshape(tensor.ShapeAsNumpy())


def _tflite_step(tflite, kind, operator, constants, shapes):
    """One TFLite operator as (operation, options, weights, activation or None)."""
    plain = {"ADD": "add", "MUL": "mul", "RELU": "relu", "HARD_SWISH": "hard_swish", "LOGISTIC": "sigmoid"}
    if kind in plain and not constants:
        return plain[kind], {}, {}, None
    if kind == "PRELU":
        return "prelu", {}, {"slope": constants[0]}, None
    if kind == "PAD":
        return "pad", {"widths": constants[0].tolist()}, {}, None
    if kind == "AVERAGE_POOL_2D" and shapes[1][1:3] == (1, 1):
        return "mean", {}, {}, None
    if kind == "Convolution2DTransposeBias":
        padding, column, row = struct.unpack("<3i", operator.CustomOptionsAsNumpy().tobytes()[:12])
        used = {"kernel": constants[0].transpose(1, 2, 3, 0)[::-1, ::-1], "bias": constants[1]}
        return "conv_transpose", {"stride": [row, column], "padding": {1: "SAME", 2: "VALID"}[padding]}, used, None
    classes = {
        "CONV_2D": "Conv2DOptions",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        "MAX_POOL_2D": "Pool2DOptions",
    }
    options = getattr(tflite, classes.get(kind, "ResizeBilinearOptions"))()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    if kind == "RESIZE_BILINEAR" and options.HalfPixelCenters() and not options.AlignCorners():
        return "resize", {"factor": int(shapes[1][1] // shapes[0][1]), "method": "linear"}, {}, None
    if kind not in classes:
        raise NotImplementedError(f"operation {kind} with {[c.shape for c in constants]}")
    activation = {0: None, 1: "relu", 3: "relu6"}[options.FusedActivationFunction()]
    step = {"stride": [options.StrideH(), options.StrideW()], "padding": {0: "SAME", 1: "VALID"}[options.Padding()]}
    if kind == "MAX_POOL_2D":
        return "max_pool", {"window": [options.FilterHeight(), options.FilterWidth()], **step}, {}, activation
    kernel, bias = constants
    if kind == "DEPTHWISE_CONV_2D":
        step["groups"], kernel = kernel.shape[3], kernel.transpose(1, 2, 0, 3)
    else:
        kernel = kernel.transpose(1, 2, 3, 0)
    return "conv", step, {"kernel": kernel, "bias": bias}, activation


def main() -> None:
    """Packs each file that is given."""
    prog = "python -m panojax.photo.pack"
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("yunet", "mesh", "selfie"):
        parser.add_argument(f"--{name}", metavar="FILE")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, read in (("yunet", from_onnx), ("mesh", from_tflite), ("selfie", from_tflite)):
        if path := getattr(arguments, name):
            save(str(arguments.out / f"{name}.npz"), read(path))


if __name__ == "__main__":
    sys.exit(run_process(main, ""))
