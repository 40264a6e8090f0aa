import chex
import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.train.flat import GROUP, flatten
from panojax.train.ranger import ranger, synced


def test_a_tree_comes_back():
    """More arrays than a vector takes, of ranks 0 to 4, in one order whatever their names."""
    shapes = [(), (3,), (2, 3), (1, 1, 4), (3, 3, 2, 4)]
    tree = {f"net{i}": {"w": jnp.asarray(recipe.normal(f"w{i}", shapes[i % 5]))} for i in range(2 * GROUP + 3)}
    flat = flatten(tree)
    assert len(flat.vectors) == 3 and sum(map(len, flat.vectors)) == sum(x.size for x in jax.tree.leaves(tree))
    back = flat.tree()
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    chex.assert_trees_all_equal(back, tree)
    assert flatten({}).tree() == {}


def test_ranger_steps_vectors_as_it_steps_arrays():
    """Fast and slow parameters of seven steps, a lookahead's among them, bit for bit."""
    shapes = {"kernel": (3, 3, 2, 4), "dense": (5, 4), "bias": (4,)}
    tree = {name: jnp.asarray(recipe.normal(name, shape)) for name, shape in shapes.items()}
    optimiser, kept = ranger(0.01), []
    for start in (tree, flatten(tree)):
        params = synced(start)
        state = optimiser.init(params)
        for i in range(7):
            gradients = {name: jnp.asarray(recipe.normal(f"{name}{i}", shape)) for name, shape in shapes.items()}
            updates, state = optimiser.update(gradients, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        kept.append(params)
    for one, two in ((kept[0].fast, kept[1].fast), (kept[0].slow, kept[1].slow)):
        assert np.any(one["kernel"] != tree["kernel"])
        chex.assert_trees_all_equal(one, two.tree())
