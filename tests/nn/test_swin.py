"""Swin-V2's tables and windows against loops. The whole network is compared with PyTorch in encoders/test_goae.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.nn.attention import CrossAttention, plain_norm
from panojax.nn.swin import (
    Merging,
    SwinConfig,
    SwinTransformer,
    join_windows,
    log_distances,
    relative_index,
    shift_mask,
    split_windows,
    unit,
)

SMALL = SwinConfig(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=4)


def test_distances_equal_loop():
    """Row and column of a query minus those of a key, log-spaced, found by the index."""
    window, pretrained = 3, 5
    table, index = log_distances(window, pretrained), relative_index(window)
    for query, key in np.ndindex(9, 9):
        for axis, (a, b) in enumerate(zip(divmod(query, 3), divmod(key, 3))):
            d = 8 * (a - b) / (pretrained - 1)
            want = np.sign(d) * np.log2(abs(d) + 1) / np.log2(8)
            assert table[index[query, key], axis] == pytest.approx(want, rel=1e-6)


def test_shift_mask_equals_loop():
    """After a shift, tokens of a window see one another where they were no farther apart than it before."""
    side, window, shift = 8, 4, 2
    rows, columns = np.divmod(np.arange(side**2), side)
    moved = split_windows(jnp.roll(jnp.arange(64.0).reshape(1, 8, 8, 1), (-shift, -shift), (1, 2)), window)
    mask = shift_mask(side, window, shift)
    for w, tokens in enumerate(np.asarray(moved[0, :, :, 0], int)):
        for i, j in np.ndindex(16, 16):
            a, b = tokens[i], tokens[j]
            near = abs(rows[a] - rows[b]) < window and abs(columns[a] - columns[b]) < window
            assert mask[w, i, j] == (0 if near else -100)


def test_unit_vectors_and_their_gradients():
    """As F.normalize; a vector of zeros, or of next to nothing, passes no gradient."""
    x = np.array([[3.0, 4.0], [0.0, 0.0], [3e-13, 4e-13]], np.float32)
    np.testing.assert_allclose(unit(jnp.asarray(x)), [[0.6, 0.8], [0, 0], [0.3, 0.4]], rtol=1e-5)
    slope = jax.grad(lambda x: jnp.sum(unit(x) * jnp.array([1.0, 2.0])))(jnp.asarray(x))
    np.testing.assert_allclose(slope, [[-0.064, 0.048], [0, 0], [0, 0]], rtol=1e-4, atol=1e-7)


def test_windows_join_again():
    x = recipe.normal("swin/windows", (2, 8, 8, 3))
    windows = split_windows(jnp.asarray(x), 4)
    np.testing.assert_array_equal(windows[1, 2].reshape(4, 4, 3), x[1, 4:8, 0:4])
    np.testing.assert_array_equal(join_windows(windows, 8), x)


def test_merging_joins_the_columns_last():
    """x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2], the first index being the row."""
    x = recipe.normal("swin/merging", (1, 4, 4, 2))
    module = Merging(4, numerics=CrossAttention().numerics)
    variables = module.init(jax.random.key(0), jnp.asarray(x.reshape(1, 16, 2)))
    kernel = recipe.normal("swin/reduction", (8, 4))
    variables["params"]["reduction"]["kernel"] = jnp.asarray(kernel)
    joined = np.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1).reshape(1, 4, 8) @ kernel
    want = (joined - joined.mean(-1, keepdims=True)) / np.sqrt(joined.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(module.apply(variables, jnp.asarray(x.reshape(1, 16, 2))), want, rtol=1e-4, atol=1e-5)


def test_norm_equals_numpy():
    x = recipe.normal("swin/norm", (3, 7))
    want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(plain_norm(jnp.asarray(x)), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_cross_attention_starts_as_a_constant(start):
    """Whatever it reads; and its gradients are not all zero."""
    queries, tokens = (jnp.asarray(recipe.normal(f"swin/{name}", (2, n, 8))) for name, n in (("q", 3), ("t", 5)))
    module = CrossAttention(start=start)
    variables = module.init(jax.random.key(0), queries, tokens)
    np.testing.assert_allclose(module.apply(variables, queries, tokens), start, atol=1e-6)
    slope = jax.grad(lambda v: module.apply(v, queries, tokens).sum())(variables)["params"]
    assert np.abs(slope["linear2"]["kernel"]).max() > 0.1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SMALL.sides(48), "resolution must be a multiple of 32, got 48"),
        (lambda: SMALL.sides(96), r"windows of 4 must tile maps of \(24, 12, 6, 3\) tokens a side"),
        (lambda: SwinConfig(heads=(4, 8, 16, 31)), r"heads must divide the stages' widths \(128, 256, 512, 1024\)"),
        (lambda: SwinConfig(depths=(2, 2, 18, 0)), "depths must be 1 to 8192, got 0"),
        (lambda: SwinConfig(drop_path=1.0), "drop_path must be 0 to 0.99, got 1"),
        (lambda: SwinConfig(width=2**13, heads=(1, 1, 1, 1)), "depths x widths must take at most 16 GiB"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_training_leaves_branches_out_by_its_key():
    """Of some of four equal pictures; without a key, and outside training, of none."""
    network = SwinTransformer(dataclasses.replace(SMALL, drop_path=0.9))
    pictures = jnp.broadcast_to(jnp.asarray(recipe.normal("swin/pictures", (1, 32, 32, 3))), (4, 32, 32, 3))
    variables = jax.jit(lambda: network.init(jax.random.key(0), pictures, train=False))()
    apply = jax.jit(
        lambda train, **rngs: network.apply(variables, pictures, train=train, rngs=rngs)[-1], static_argnums=0
    )
    kept, plain = apply(True, drop_path=jax.random.key(1)), apply(False, drop_path=jax.random.key(1))
    np.testing.assert_array_equal(plain, apply(True))
    assert np.abs(plain - plain[:1]).max() < 1e-5
    assert np.abs(kept - kept[:1]).max() > 1e-3
    np.testing.assert_array_equal(kept, apply(True, drop_path=jax.random.key(1)))
    assert np.abs(kept - apply(True, drop_path=jax.random.key(2))).max() > 1e-3
