"""The methods that are compared: from a portrait to a head."""

import dataclasses
import functools
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.encoders import dual
from panojax.encoders.goae import GoaeEncoder
from panojax.encoders.stage import Context
from panojax.errors import InputError
from panojax.eval.benchmark_training import planned_memory
from panojax.files.checkpoint import load
from panojax.files.head_file import model_mark
from panojax.generators.generator import Head
from panojax.inversion import optimize
from panojax.inversion.optimize import ProjectionConfig, TuningConfig
from panojax.inversion.pipeline import invert_batch, reconstruct
from panojax.inversion.stages import stages_of
from panojax.losses.perception import Perception
from panojax.nn.stylegan2 import pool
from panojax.params import Params

KINDS = {
    "dual": "Dual",
    "dual-sample": "Dual (per lookup)",
    "e1": "E1",
    "e2": "E2",
    "psp": "pSp",
    "goae": "GOAE",
    "wplus": "W+ opt.",
    "pti": "PTI",
}
"""Methods and what tables call them: both encoders stitched texel by texel, or lookup by lookup; one alone; encoder 1's
W+ stage alone; GOAE's encoder; optimised style codes; and a generator tuned around them."""
OPTIMISATIONS = ("wplus", "pti")


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of a table's row."""

    title: str
    """What tables call it."""
    kind: str
    """One of `KINDS`."""
    checkpoint: str | None = None
    """Of its encoders; None is the run's."""

    @property
    def folder(self) -> str:
        """Its title as a name of files."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.title.replace("+", "plus")).strip("_").lower()


@dataclasses.dataclass(frozen=True)
class OptimisationOptions:
    """What W+ optimisation and PTI do."""

    steps: int = 500
    """Steps of the codes' optimisation; PTI then takes as many for the generator."""
    loss: str = "vgg"
    """Network of their perceptual loss: "vgg", "alex" or "none"."""

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")


def parse_methods(text: str) -> tuple[Method, ...]:
    """Methods of a list such as "dual,e1,pti" or "dual,psp@RUNS/psp/model,No D=dual@RUNS/no_d/model".

    An entry is [title=]kind[@checkpoint].

    Raises:
      InputError: a kind is unknown, or two methods have one name.
    """
    methods = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        title, _, rest = entry.rpartition("=") if "=" in entry.split("@")[0] else ("", "", entry)
        kind, _, checkpoint = rest.partition("@")
        if kind not in KINDS:
            raise InputError(f"methods must be among {', '.join(KINDS)}, got {kind!r}")
        methods.append(Method(title or KINDS[kind], kind, checkpoint or None))
    folders = [method.folder for method in methods]
    if not methods or "" in folders or len(set(folders)) != len(folders):
        raise InputError(f"methods must be one or more with different names (name them by TITLE=METHOD), got {text!r}")
    return tuple(methods)


def load_models(methods: Sequence[Method], params: Params) -> dict[str, Params]:
    """{method's folder: its model}: `params`, or its own checkpoint.

    Raises:
      InputError: a checkpoint cannot be read, has no encoders where the method needs them, or another generator.
    """
    models, mark = {}, model_mark(params)
    for method in methods:
        model = params
        if method.checkpoint is not None:
            model = load(method.checkpoint).with_dtype(params.config.generator.dtype)
            if model_mark(model) != mark:
                raise InputError(
                    f"methods must share --checkpoint's generator, {method.checkpoint} has another: mixed models"
                )
        if method.kind not in OPTIMISATIONS and model.encoders is None:
            where = method.checkpoint or "--checkpoint"
            raise InputError(f"methods: {method.kind} needs two encoders, {where} has none")
        _check_kind(method, model)
        models[method.folder] = model
    return models


def _check_kind(method: Method, model: Params) -> None:
    """Raises InputError where a model has other encoders than the method needs."""
    where, encoder = method.checkpoint or "--checkpoint", model.config.encoder
    if method.kind == "goae" and not isinstance(encoder, GoaeEncoder):
        raise InputError(f"methods: goae needs a GoaeEncoder, {where} has a {type(encoder).__name__}")
    if method.kind in ("dual", "dual-sample", "e2") and model.config.encoders != 2:
        raise InputError(f"methods: {method.kind} needs two encoders, {where} has one")


class Inverter:
    """A method on one device.

    Args:
      method: which.
      params: its model, on the device.
      perception: of the optimisations.
      options: of the optimisations.
    """

    def __init__(self, method: Method, params: Params, perception: Perception, options: OptimisationOptions):
        self._kind, self._perception = method.kind, perception
        self._projection, self._tuning = ProjectionConfig(steps=options.steps), TuningConfig(steps=options.steps)
        self._params, self._encoder = params, None
        if method.kind in OPTIMISATIONS:
            self._params = params.generator_only()
        elif not method.kind.startswith("dual"):
            self._encoder = dual.part(params.encoders["both"], dual.OCCLUDED if method.kind == "e2" else dual.VISIBLE)
            average = params.encoders["latent_average"]
            self._params = params.replace(encoders={"latent_average": average})  # type: ignore[attr-defined]

    def __call__(self, image: np.ndarray, label: np.ndarray, key: jax.Array) -> tuple[Any, Head]:
        """The generator's variables and the head [1, ...] of a portrait [S, S, 3] seen from label [25], when done."""
        arguments = self._arguments(image, label, key)
        if self._kind in OPTIMISATIONS:
            result = self._optimise(self._projection, self._tuning, *arguments)
        else:
            function, options = self._function()
            result = self._params.generator, function(*arguments, **options)
        done: tuple[Any, Head] = jax.block_until_ready(result)
        return done

    def seconds(self, image: np.ndarray, label: np.ndarray, key: jax.Array) -> float:
        """Seconds that a portrait takes once all is compiled; of the encoders the median of five."""
        self(image, label, key)
        times = []
        for _ in range(1 if self._kind in OPTIMISATIONS else 5):
            start = time.perf_counter()
            self(image, label, key)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    def memory(self, image: np.ndarray, label: np.ndarray, key: jax.Array) -> float:
        """MiB that XLA plans: parameters, portrait, head, temporaries. An optimisation's steps reuse their memory."""
        arguments = self._arguments(image, label, key)
        if self._kind in OPTIMISATIONS:
            one = dataclasses.replace(self._projection, steps=1), dataclasses.replace(self._tuning, steps=1)
            compiled = jax.jit(functools.partial(self._optimise, *one)).lower(*arguments).compile()
        else:
            function, options = self._function()
            compiled = function.lower(*arguments, **options).compile()
        return planned_memory(compiled)["memory_mib"]

    def _arguments(self, image: np.ndarray, label: np.ndarray, key: jax.Array) -> Any:
        arrays = jnp.asarray(image), jnp.asarray(label)
        if self._kind in OPTIMISATIONS:
            return self._params, self._perception, *arrays, key
        return (self._params, *([] if self._encoder is None else [self._encoder]), *arrays)

    def _function(self) -> tuple[Any, dict[str, Any]]:
        """How a portrait is encoded, with its static options."""
        if self._encoder is None:
            return dual_head, {"stitching": "sample" if self._kind == "dual-sample" else "texel"}
        return single_head, {"offsets": self._kind != "psp"}

    def _optimise(self, projection, tuning, params, perception, image, label, key):
        options = {"perception": perception, "config": projection, "key": key}
        if self._kind == "pti":
            params, head = optimize.invert_pti(params, image, label, tuning=tuning, **options)
        else:
            head = optimize.invert_wplus(params, image, label, **options)
        return params.generator, jax.tree.map(lambda x: x[None], head)


@functools.partial(jax.jit, static_argnames="stitching")
def dual_head(params: Params, image: jax.Array, label: jax.Array, *, stitching: str) -> Head:
    """The stitched head [1, ...] of a portrait [S, S, 3] seen from label [25]."""
    arrays = params.generator, params.encoders, image[None], label[None]
    return invert_batch(params.config, *arrays, stitching=stitching)[0]


@functools.partial(jax.jit, static_argnames="offsets")
def single_head(params: Params, encoder: Any, image: jax.Array, label: jax.Array, *, offsets: bool) -> Head:
    """One encoder's head [1, ...] of a portrait [S, S, 3] seen from label [25]; `offsets` False: W+ stage alone."""
    config: Any = params.config
    picture = pool(image[None], config.encoder.resolution)
    context = Context(params.generator, params.encoders["latent_average"], picture, label[None], model=config)
    estimate, _, _ = reconstruct(context, stages_of(config.encoder, offsets=offsets, local=offsets), encoder)
    return estimate.heads
