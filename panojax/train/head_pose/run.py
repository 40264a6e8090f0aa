"""Train the network that finds heads from all sides (`panojax.photo.head_pose`) on drawn heads.

python -m panojax.train.head_pose --heads heads --panoramas panoramas --seconds 300 --out head_pose.npz

The heads' own training identities are trained on. Surroundings are drawn, and crops of panoramas where these are given.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.nn import graph
from panojax.nn.graph import Graph, load, save
from panojax.photo.head_pose import INPUT_SIDE, STRIDE, TURN
from panojax.synthetic.storage import list_identities, read_pictures
from panojax.terminal.bars import bar
from panojax.train.command import exit_code
from panojax.train.head_pose.losses import rotations, total_loss
from panojax.train.head_pose.network import Widths, init_network, plain_weights, trained_form
from panojax.train.head_pose.scenes import Scene, compose, make_atlas
from panojax.train.head_pose.surroundings import draw_surroundings, read_panoramas

# Panoramas in whose surroundings heads are measured and not trained.
HELD_OUT_PANORAMAS = ("city", "forest", "lobby", "venice")
TOLD = 200  # steps between lines of losses


@dataclasses.dataclass(frozen=True)
class HeadPoseConfig:
    """A training run."""

    heads: tuple[pathlib.Path, ...]
    """Folders that `panojax heads` filled, with pictures of one size, a multiple of 8."""
    out: pathlib.Path
    """File of the network, new (.npz)."""
    panoramas: pathlib.Path | None = None
    """Folder of panoramas without people in latitude and longitude (.png, .jpg), whose crops are surroundings."""
    seconds: float = 300.0
    """How long the training takes, with reading and compiling; the learning rate falls to zero in this time."""
    steps: int = 0
    """Instead of `seconds`: gradient steps."""
    batch: int = 256
    """Pictures a step."""
    learning_rate: float = 2e-3
    """The highest."""
    surroundings: int = 3000
    """Pictures of surroundings."""
    start: pathlib.Path | None = None
    """File of a network to go on from, of the same widths."""
    widths: Widths = dataclasses.field(default_factory=Widths)
    """Of the network."""
    seed: int = 0
    """Of the weights and the pictures."""
    overwrite: bool = False
    """Replace the file."""

    def __post_init__(self):
        for name in ("batch", "surroundings"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds <= 0 or self.steps < 0:
            raise InputError(f"seconds must be positive and steps none or more, got {self.seconds}, {self.steps}")
        if not self.heads:
            raise InputError("heads must name a folder, got none")


class Drawn(NamedTuple):
    """What scenes are made of, on the device."""

    atlas: jax.Array
    rotations: jax.Array
    grounds: jax.Array


class State(NamedTuple):
    """Of the training."""

    weights: Any
    mean: Any  # the weights' moving average
    moments: Any


def read_heads(folders: tuple[pathlib.Path, ...], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [M, S, S, 4] of a split's heads, and rotations float32 [M, 3, 3] from their axes to the camera's.

    Raises:
      InputError: there is none, or they are of several sizes, or of one that is no multiple of 8.
    """
    paths = [path for folder in folders for path in list_identities(folder)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        heads = list(bar(pool.map(read_pictures, paths), total=len(paths), desc=f"reading {split}", unit="head"))
    heads = [head for head in heads if head[0]["split"] == split]
    sizes = {pictures.shape[1] for *_, pictures in heads}
    if len(sizes) != 1 or sizes.pop() % 8:
        told = ", ".join(map(str, folders))
        raise InputError(f"heads must hold pictures of the {split} split of one size, a multiple of 8, got {told}")
    labels = np.concatenate([labels for _, labels, _ in heads])
    turns = labels[:, :16].reshape(-1, 4, 4)[:, :3, :3].transpose(0, 2, 1)
    return np.concatenate([pictures for *_, pictures in heads]), turns.astype(np.float32)


def make_step(network: Graph, optimizer: Any, batch: int) -> Any:
    """A compiled step: (state, drawn, key, learning rate) -> (state, losses)."""

    def loss_of(weights, drawn, key):
        scenes = jax.vmap(compose, (0, None, None, None))(jax.random.split(key, batch), *drawn)
        return total_loss(forward(network, plain_weights(weights), scenes.picture), scenes)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, drawn, key, rate, decay):
        (loss, parts), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.weights, drawn, key)
        updates, moments = optimizer.update(gradients, state.moments, state.weights)
        weights = jax.tree.map(lambda w, u: w - rate * u, state.weights, updates)
        mean = jax.tree.map(lambda m, w: decay * m + (1 - decay) * w, state.mean, weights)
        return State(weights, mean, moments), {"loss": loss, **parts}

    return step


def forward(network: Graph, weights: Any, pictures: jax.Array) -> dict[str, jax.Array]:
    """{output: [N, n, n, C]} of pictures [N, H, W, 3]."""
    return dict(zip(network.outputs, graph.run(network, weights, pictures)))


def learning_rate(part: float, highest: float) -> float:
    """It rises for a fiftieth of the training, then falls to zero along a cosine."""
    return highest * min(part / 0.02, 0.5 + 0.5 * float(np.cos(np.pi * min(part, 1.0))))


def train(config: HeadPoseConfig) -> Graph:
    """Trains on the heads' training identities."""
    until = time.time() + config.seconds
    drawn = read_drawn(config)
    network = init_network(config.widths, config.seed)
    if config.start is not None:
        network = dataclasses.replace(network, weights=trained_form(dict(load(config.start).weights)))
    optimizer = optax.chain(optax.clip_by_global_norm(2.0), optax.scale_by_adam(b2=0.99))
    weights = {name: jnp.asarray(value) for name, value in network.weights.items()}
    state = State(weights, jax.tree.map(jnp.copy, weights), optimizer.init(weights))
    step, key = make_step(network, optimizer, config.batch), jax.random.key(config.seed)
    clock, number = _Clock(config.steps, until), 0
    with tqdm(desc="training", unit="step", disable=None) as shown:
        while (part := clock.part(number)) < 1:
            rate, decay = learning_rate(part, config.learning_rate), min(0.999, (1 + number) / (10 + number))
            state, losses = step(state, drawn, jax.random.fold_in(key, number), rate, decay)
            number += 1
            if number % TOLD == 0 or number == 1:
                told = ", ".join(f"{name} {float(value):.3f}" for name, value in losses.items())
                print(f"step {number}, {100 * part:.0f}%: {told}", file=sys.stderr, flush=True)
            shown.update()
    print(f"{number} steps of {config.batch} pictures, {len(drawn.atlas)} drawn views", file=sys.stderr)
    return dataclasses.replace(network, weights=jax.device_get(plain_weights(state.mean)))


def read_drawn(config: HeadPoseConfig) -> Drawn:
    """The training heads, and surroundings without those held out, on the device."""
    pictures, turns = read_heads(config.heads, "train")
    panoramas = {} if config.panoramas is None else read_panoramas(config.panoramas)
    kept = [picture for name, picture in panoramas.items() if name not in HELD_OUT_PANORAMAS]
    grounds = draw_surroundings(config.surroundings, config.seed, kept)
    return Drawn(*map(jnp.asarray, (make_atlas(pictures), turns, grounds)))


class _Clock:
    """How much of a training is over, by its steps, or by the time since its first step, which compiles."""

    def __init__(self, steps: int, until: float):
        self.steps, self.until, self.begun = steps, until, 0.0

    def part(self, number: int) -> float:
        """In [0, 1]; 1 is the end."""
        if self.steps:
            return number / self.steps
        if number == 1:
            self.begun = time.time()
        return (time.time() - self.begun) / max(self.until - self.begun, 1.0) if number else 0.0


def close_errors(network: Graph, drawn: Drawn, *, count: int = 512, seed: int = 1) -> np.ndarray:
    """Degrees by which rotations of heads in random scenes are wrong, at the true middles: [n]; a quick look only."""
    keys = jax.random.split(jax.random.key(seed), count)

    @jax.jit
    def errors(keys) -> tuple[jax.Array, jax.Array]:
        scenes: Scene = jax.vmap(compose, (0, None, None, None))(keys, *drawn)
        turn = forward(network, network.weights, scenes.picture)[TURN]
        cell = jnp.clip(scenes.centre[:, 0] / STRIDE, 0, INPUT_SIDE // STRIDE - 1).astype(jnp.int32)
        found = rotations(turn[jnp.arange(len(keys)), cell[:, 1], cell[:, 0]])
        trace = jnp.einsum("nij,nij->n", found, scenes.rotation[:, 0])
        return jnp.degrees(jnp.arccos(jnp.clip((trace - 1) / 2, -1, 1))), scenes.wanted[:, 0]

    parts = [errors(keys[i : i + 64]) for i in range(0, count, 64)]
    angle, wanted = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1))
    return angle[wanted > 0]


def write(config: HeadPoseConfig) -> None:
    """Trains and writes the file. InputError where it is there already and not to be replaced, before anything else."""
    if config.out.exists() and not config.overwrite:
        raise InputError(f"out must not exist yet, or --overwrite be given, got {str(config.out)!r}")
    network = train(config)
    with replaced_when_done(config.out, overwrite=config.overwrite) as partial, open(partial, "wb") as file:
        save(file, network)
    print(f"{config.out}: {config.out.stat().st_size / 1e6:.2f} MB")


def main() -> int:
    """Runs the command line; the exit code."""

    def run() -> None:
        import tyro

        write(tyro.cli(HeadPoseConfig, prog="python -m panojax.train.head_pose", description=__doc__))

    return exit_code(run)
