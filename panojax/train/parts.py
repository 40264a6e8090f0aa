"""Train the part segmenter of `panojax.editing.parts` on synthetic heads.

python -m panojax.train.parts --heads heads --out parts.npz

About eight minutes of CPU with the defaults. The heads' own training identities are trained on; the scores printed
at the end are those of their test identities.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from panojax.disk.staging import replaced_when_done
from panojax.editing.parts import PARTS, SIDE
from panojax.errors import InputError
from panojax.nn.graph import Graph, apply, save
from panojax.synthetic.scene import PARTS as LABELS
from panojax.synthetic.storage import list_identities, read_identity, read_parameters
from panojax.train.command import exit_code

OUTPUT = "parts"
# Labels of the heads -> labels of the segmenter.
OTHERS = {"hat": "clothes"}  # the rest that the segmenter does not know lies on skin
MERGED = np.array([PARTS.index(name if name in PARTS else OTHERS.get(name, "skin")) for name in LABELS], np.uint8)


@dataclasses.dataclass(frozen=True)
class PartsConfig:
    """A training run of the segmenter."""

    heads: pathlib.Path
    """Folder that `panojax heads` filled, with train and test identities."""
    out: pathlib.Path
    """File of the network, new (.npz)."""
    views: int = 4
    """Pictures taken of each identity."""
    steps: int = 1200
    """Gradient steps."""
    batch: int = 16
    """Pictures a step."""
    learning_rate: float = 2e-3
    """The highest; it rises for a tenth of the steps and falls to zero along a cosine."""
    widths: tuple[int, ...] = (12, 24, 48, 64, 96)
    """Channels at 128, 64, 32, ... pixels."""
    eyes_weight: float = 2.0
    """Weight of pixels of eyes in the loss, which are few."""
    seed: int = 0
    """Of the weights, the augmentation and the order."""
    overwrite: bool = False
    """Replace the file."""

    def __post_init__(self):
        for name in ("views", "steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.widths) < 2:
            raise InputError(f"widths must be two or more, got {self.widths}")


def init_network(widths: tuple[int, ...], seed: int) -> Graph:
    """An hourglass with sums for skips, kernels by He's rule: [SIDE, SIDE, 3] in [-1, 1] -> logits [SIDE, SIDE, 5]."""
    rng = np.random.default_rng(seed)
    steps: list[Any] = []
    weights: dict[str, np.ndarray] = {}

    def conv(source: str, name: str, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, relu: bool = True):
        spread = np.sqrt(2 / (size * size * inputs))
        kernel = rng.standard_normal((size, size, inputs, outputs), np.float32) * np.float32(spread)
        weights[f"{name}/kernel"], weights[f"{name}/bias"] = kernel, np.zeros(outputs, np.float32)
        options = {"stride": [stride, stride], "padding": "SAME"}
        result = f"{name}/before" if relu else name
        steps.append(("conv", (source,), result, (f"{name}/kernel", f"{name}/bias"), options))
        if relu:
            steps.append(("relu", (result,), name, (), {}))
        return name

    value = conv("image", "down0", 3, widths[0])
    skips = [value]
    for level, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=1):
        value = conv(value, f"down{level}", inputs, outputs, stride=2)
        if level > 1:
            value = conv(value, f"more{level}", outputs, outputs)
        skips.append(value)
    for level in reversed(range(len(widths) - 1)):
        narrow = conv(value, f"narrow{level}", widths[level + 1], widths[level], size=1, relu=False)
        steps.append(("resize", (narrow,), f"wide{level}", (), {"factor": 2, "method": "linear"}))
        steps.append(("add", (f"wide{level}", skips[level]), f"sum{level}", (), {}))
        if level:
            value = conv(f"sum{level}", f"up{level}", widths[level], widths[level])
    conv("sum0", OUTPUT, widths[0], len(PARTS), relu=False)
    return Graph(tuple(steps), weights, ("image",), (OUTPUT,))


def logits(network: Graph, weights: Any, images: jax.Array) -> jax.Array:
    """[N, SIDE, SIDE, 5] of pictures [N, SIDE, SIDE, 3] in [-1, 1]."""
    network = dataclasses.replace(network, weights=weights)
    return jax.vmap(lambda image: apply(network, image)[OUTPUT])(images)


def read_pictures(folder: pathlib.Path, split: str, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied colours and coverage uint8 [N, SIDE, SIDE, 4] and labels uint8 [N, SIDE, SIDE] of a split.

    Raises:
      InputError: the folder holds no heads of the split, or their pictures are no multiple of SIDE wide.
    """
    pictures, labels = [], []
    for path in tqdm(list_identities(folder), desc=f"reading {split}", unit="head", disable=None, leave=False):
        identity, cameras = read_parameters(path)
        if identity["split"] != split:
            continue
        count = len(cameras)
        # Views go around the head in order: these are spread over the turn.
        head = read_identity(path, sorted({(i * count) // views for i in range(views)}))
        size = head.rgba.shape[1]
        if size % SIDE:
            raise InputError(f"heads must have pictures of a multiple of {SIDE} pixels, got {size} in {path.name}")
        factor = size // SIDE
        alpha = head.rgba[..., 3:].astype(np.float32) / 255
        rgba = np.concatenate([head.rgba[..., :3] * alpha, head.rgba[..., 3:]], -1)
        mean = rgba.reshape(-1, SIDE, factor, SIDE, factor, 4).mean((2, 4))
        pictures.append((mean + 0.5).astype(np.uint8))
        votes = np.eye(len(PARTS), dtype=np.float32)[MERGED[head.parts]]
        labels.append(votes.reshape(-1, SIDE, factor, SIDE, factor, len(PARTS)).sum((2, 4)).argmax(-1).astype(np.uint8))
    if not pictures:
        raise InputError(f"heads must hold identities of the {split} split, got {folder} without any")
    return np.concatenate(pictures), np.concatenate(labels)


def augment(key: jax.Array, picture: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One training picture [SIDE, SIDE, 3] in [-1, 1] and its labels: flipped, moved, before something, in other light.

    Args:
      picture: as `read_pictures` gives, in [0, 255].
    """
    # One draw for all, which compiles sooner.
    draws = jax.random.uniform(key, (75 + 14,), minval=-1.0)
    cloud, (scale, flip, strength), (shift, base, gain, offset) = (
        draws[:75].reshape(5, 5, 3),
        draws[75:78],
        jnp.split(draws[78:], (2, 5, 8)),
    )
    middle = (SIDE - 1) / 2
    away = (jnp.arange(SIDE, dtype=jnp.float32) - middle) * jnp.exp(0.1 * scale)
    rows, columns = (middle + away + 0.06 * SIDE * shift[i] for i in range(2))
    columns = jnp.where(flip > 0, columns[::-1], columns)
    # What is moved in from outside repeats the border, of which most is background or clothes.
    where = jnp.meshgrid(rows, columns, indexing="ij")
    rgba = jax.vmap(lambda x: jax.scipy.ndimage.map_coordinates(x, where, order=1, mode="nearest"), -1, -1)(picture)
    moved = jax.scipy.ndimage.map_coordinates(labels.astype(jnp.int32), where, order=0, mode="nearest")
    behind = (base + 1) / 2 + 0.2 * (strength + 1) * jax.image.resize(cloud, (SIDE, SIDE, 3), "cubic")
    image = rgba[..., :3] / 255 + (1 - rgba[..., 3:] / 255) * jnp.clip(behind, 0, 1)
    return jnp.clip(2 * (image * (1 + 0.15 * gain) + 0.05 * offset) - 1, -1, 1), moved


def train(config: PartsConfig) -> tuple[Graph, dict[str, float]]:
    """Trains on the heads' train split; the network, and its scores on their test split."""
    pictures, labels = read_pictures(config.heads, "train", config.views)
    network = init_network(config.widths, config.seed)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, max(1, config.steps // 10), config.steps + 1
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))
    importance = jnp.where(jnp.arange(len(PARTS)) == PARTS.index("eyes"), config.eyes_weight, 1.0)

    def loss_of(weights, images, targets):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(network, weights, images), targets)
        return jnp.mean(losses * importance[targets])

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(weights, state, key, images, targets):
        images, targets = jax.vmap(augment)(jax.random.split(key, len(images)), images.astype(jnp.float32), targets)
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, targets)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state, loss

    weights = jax.device_put(network.weights)
    state, key = optimizer.init(weights), jax.random.key(config.seed)
    with tqdm(range(config.steps), desc="parts", unit="step") as bar:
        for number, chosen in zip(bar, shuffled(len(pictures), config.batch, config.seed)):
            weights, state, loss = step(
                weights, state, jax.random.fold_in(key, number), pictures[chosen], labels[chosen]
            )
            if number % 20 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}")
    network = dataclasses.replace(network, weights=jax.device_get(weights))
    return network, score(network, *read_pictures(config.heads, "test", config.views), seed=config.seed)


def shuffled(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless indices [batch], each picture once a round."""
    rng, left = np.random.default_rng(seed), np.zeros(0, np.int64)
    while True:
        while len(left) < batch:
            left = np.concatenate([left, rng.permutation(count)])
        chosen, left = left[:batch], left[batch:]
        yield chosen


def score(network: Graph, pictures: np.ndarray, labels: np.ndarray, *, seed: int) -> dict[str, float]:
    """Intersection over union of each part, over all pictures, each before a random flat background."""
    predict = jax.jit(lambda images: logits(network, network.weights, images).argmax(-1))
    grounds = np.random.default_rng(seed).integers(0, 256, (len(pictures), 1, 1, 3))
    common, either = np.zeros(len(PARTS)), np.zeros(len(PARTS))
    for picture, truth, ground in zip(pictures, labels, grounds):
        image = picture[..., :3] + (1 - picture[..., 3:] / np.float32(255)) * ground
        found = np.asarray(predict(image[None].astype(np.float32) / 127.5 - 1)[0])
        for part in range(len(PARTS)):
            common[part] += np.sum((found == part) & (truth == part))
            either[part] += np.sum((found == part) | (truth == part))
    return {name: float(a / b) if b else float("nan") for name, a, b in zip(PARTS, common, either)}


def main() -> int:
    """Runs the command line; the exit code."""

    def run() -> None:
        import tyro

        config = tyro.cli(PartsConfig, prog="python -m panojax.train.parts", description=__doc__)
        if config.out.exists() and not config.overwrite:
            raise InputError(f"out must not exist yet, or --overwrite be given, got {str(config.out)!r}")
        network, scores = train(config)
        with replaced_when_done(config.out, overwrite=config.overwrite) as partial, open(partial, "wb") as file:
            save(file, network)
        told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        print(f"{config.out}: intersection over union on test identities: {told}")

    return exit_code(run)


if __name__ == "__main__":
    raise SystemExit(main())
