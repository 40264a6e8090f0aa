"""The networks that measure: each with its name, which goes into every table beside the figure it makes.

What is published as FID, KID and IS is Inception's with the official weights. Without them, distances are between
features of VGG16 (LPIPS' copy) and carry another name.
"""

import dataclasses
import functools
import hashlib
import importlib.resources
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.converters.metric_networks import read_deeplab, read_inception, read_ir101, read_ir_se50
from panojax.errors import InputError
from panojax.eval.faces import Detector
from panojax.losses.lpips import load_lpips
from panojax.losses.sface import load_sface, sface_embedding
from panojax.nn.arcface import face_crop, identity_embedding, ir101, ir_se50
from panojax.nn.deeplab import DeepLabV3, person_probability
from panojax.nn.graph import apply, load
from panojax.nn.inception import FIDInception
from panojax.photo.detect import detect_faces
from panojax.photo.matte import INPUT_SIDE, SEGMENTER_OUTPUT

# Of pt_inception-2015-12-05-6726825d.pth: the name ends in the first digits of the file's SHA-256.
OFFICIAL_INCEPTION = "6726825d"
_INCEPTION = "Inception-v3 (official)"


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The networks that measure."""

    lpips: str = "alex"
    """LPIPS' network, "alex" (the field's) or "vgg"; "none" leaves LPIPS out."""
    identity: str = "sface"
    """Identity network of the training loss, on its fixed crop: "sface", the path of model_ir_se50.pth, or "none"."""
    aligned: str = "sface"
    """Identity network on faces that are found and aligned: "sface", the path of CurricularFace_Backbone.pth (IR-101),
    or "none"."""
    features: str = "vgg"
    """What Frechet and kernel distances are taken of: "vgg", the path of pt_inception-2015-12-05.pth (then they are FID
    and KID), or "none"."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network: its name, a pure function of (variables, ...) and the variables."""

    name: str
    function: Callable[..., Any]
    variables: Any

    def __call__(self, *inputs: Any) -> Any:
        """The function's result, compiled once for all networks of this function, on the host."""
        return jax.device_get(_compiled(self.function)(self.variables, *inputs))


@dataclasses.dataclass(frozen=True)
class Networks:
    """What measures pictures [N, H, W, 3] in [-1, 1]; None leaves the figure out."""

    lpips: Network | None = None
    """(pictures, targets) -> distances [N]."""
    identity: Network | None = None
    """Portraits -> embeddings [N, E]."""
    aligned: Network | None = None
    """Aligned faces [N, 112, 112, 3] -> embeddings [N, E]."""
    features: Network | None = None
    """Pictures -> {"features": [N, F]} and, from Inception, "logits" [N, 1008]."""
    segmenter: Network | None = None
    """Pictures -> how much of each pixel is a person, [N, H, W] in [0, 1]."""
    detect: Detector = detect_faces
    """Picture [H, W, 3] -> faces, for `aligned`."""

    def on(self, device: Any) -> "Networks":
        """The same with their variables on a device."""
        placed = {
            field.name: dataclasses.replace(network, variables=jax.device_put(network.variables, device))
            for field in dataclasses.fields(self)
            if isinstance(network := getattr(self, field.name), Network)
        }
        return dataclasses.replace(self, **placed)

    @property
    def names(self) -> dict[str, str]:
        """{figure: network's name} of those that are there."""
        networks = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: network.name for name, network in networks.items() if isinstance(network, Network)}


def load_networks(options: NetworkOptions, *, segmenter: str = "none") -> Networks:
    """The networks that the options name.

    Args:
      segmenter: "selfie" (MediaPipe's, which comes with panojax), the path of deeplabv3_resnet101_coco-586e9e4e.pth, or
        "none".

    Raises:
      InputError: names the option whose weights are missing or do not fit.
    """
    return Networks(
        lpips=_load("lpips", options.lpips, {"alex": _lpips, "vgg": _lpips}),
        identity=_load("identity", options.identity, {"sface": _sface_crop}, _ir_se50),
        aligned=_load("aligned", options.aligned, {"sface": _sface}, _ir101),
        features=_load("features", options.features, {"vgg": _vgg}, _inception),
        segmenter=_load("segmenter", segmenter, {"selfie": _selfie}, _deeplab),
    )


def distance_names(features: str) -> tuple[str, str, str]:
    """What the Frechet distance, the kernel distance and the Inception score on these features are called."""
    if features == _INCEPTION:
        return "FID", "KID", "IS"
    return f"FD-{features}", f"KD-{features}", f"IS-{features}"


def _load(option: str, value: str, named: dict[str, Callable], from_file: Callable | None = None) -> Network | None:
    if value == "none":
        return None
    try:
        if value in named:
            network: Network = named[value](value)
        elif from_file is not None and pathlib.Path(value).is_file():
            network = from_file(value)
        else:
            choices = [*named, "none", *(["the path of its weights"] if from_file else [])]
            raise InputError(f"it must be one of {', '.join(choices)}")
    except InputError as error:
        raise InputError(f"{option} cannot be measured by {value!r}: {error}") from error
    return dataclasses.replace(network, variables=jax.device_put(network.variables))


@functools.cache
def _compiled(function):
    def exact(*arguments):
        # GPUs would otherwise round the factors of products to TF32: these are figures to report.
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return jax.jit(exact)


def _lpips(network):
    module, variables = load_lpips(network, precision="highest")
    return Network(f"{ {'alex': 'AlexNet', 'vgg': 'VGG16'}[network] } v0.1", module.apply, variables)


def _sface(name):
    graph, variables = load_sface()
    return Network("SFace", functools.partial(sface_embedding, graph), variables)


def _sface_crop(name):
    network = _sface(name)
    return dataclasses.replace(network, function=_on_crop(network.function))


def _ir_se50(path):
    return Network("IR-SE-50", _on_crop(functools.partial(identity_embedding, ir_se50())), read_ir_se50(path))


def _ir101(path):
    return Network("IR-101", functools.partial(identity_embedding, ir101()), read_ir101(path))


def _on_crop(embed):
    return lambda variables, image: embed(variables, face_crop(image))


def _vgg(name):
    module, variables = load_lpips("vgg", precision="highest")

    def features(variables, image):
        options = {"capture_intermediates": lambda module, _: module.name == "features.28", "mutable": "intermediates"}
        image = _stored(image)
        _, state = module.apply(variables, image, image, **options)
        last = nn.relu(state["intermediates"]["features.28"]["__call__"][0])
        return {"features": jnp.mean(last[: len(image)], axis=(1, 2))}

    return Network("VGG16", features, variables)


def _inception(path):
    module = FIDInception()
    official = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest().startswith(OFFICIAL_INCEPTION)

    def features(variables, image):
        found = module.apply(variables, (_stored(image) + 1) / 2)
        return {"features": found.pool3, "logits": found.unbiased_logits}

    return Network(_INCEPTION if official else "Inception-v3 (another file)", features, read_inception(path))


def _deeplab(path):
    module = DeepLabV3()
    return Network(
        "DeepLabv3", lambda variables, image: person_probability(module, variables, image), read_deeplab(path)
    )


def _selfie(name):
    with (importlib.resources.files("panojax.photo") / "weights" / "selfie.npz").open("rb") as file:
        graph = load(file)

    def person(weights, image):
        network = dataclasses.replace(graph, weights=weights)
        pictures = jax.image.resize((image + 1) / 2, (len(image), INPUT_SIDE, INPUT_SIDE, 3), "linear")
        masks = jax.vmap(lambda picture: apply(network, picture)[SEGMENTER_OUTPUT][..., 0])(pictures)
        return jax.image.resize(masks, image.shape[:3], "linear").clip(0, 1)

    return Network("MediaPipe selfie", person, graph.weights)


def _stored(image):
    """Pictures as an 8-bit file keeps them, in [-1, 1]."""
    return jnp.round((jnp.clip(image, -1, 1) + 1) * 127.5) / 127.5 - 1


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines of embeddings [N, E] -> [N]; NaN where one is."""
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.sum(first * second, axis=-1) / np.maximum(lengths, 1e-12)
