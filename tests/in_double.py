"""Functions as they are traced, computed in float64: what float32 would be without its rounding.

`in_double(f)` traces f for float32 arguments and runs the program with every float32 as float64, whatever types f asks
for itself. So a gradient by our own rules can be compared with finite differences that see twelve digits.
"""

import jax
import numpy as np
from jax.extend import core

_TYPES = ("new_dtype", "dtype", "preferred_element_type")


def in_double(function):
    """f, computed in float64, of trees of NumPy arrays, of the same shapes at each call; never call it in a trace."""
    traced = []

    def call(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        flat = [np.asarray(leaf) for leaf in leaves]
        if not traced:
            narrow = [x.astype(np.float32) if x.dtype == np.float64 else x for x in flat]
            closed, shape = jax.make_jaxpr(
                lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), return_shape=True
            )(*narrow)
            run = jax.jit(lambda *leaves: _run(closed.jaxpr, closed.consts, leaves))
            traced.extend([run, jax.tree.structure(shape)])
        with jax.enable_x64(True):
            results = [np.asarray(x) for x in traced[0](*map(_wide, flat))]
        return jax.tree.unflatten(traced[1], results)

    return call


def _wide(x):
    return x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x


def _run(program, constants, arguments):
    values = dict(zip(program.constvars, map(_wide, constants))) | dict(zip(program.invars, arguments))

    def read(atom):
        if not isinstance(atom, core.Literal):
            return values[atom]
        return np.float64(atom.val) if atom.aval.dtype == np.float32 else np.asarray(atom.val, atom.aval.dtype)

    for equation in program.eqns:
        results = _equation(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results))
    return [read(atom) for atom in program.outvars]


def _inner(program):
    """A program of an equation's parameters as a function."""
    closed = program if isinstance(program, core.ClosedJaxpr) else core.ClosedJaxpr(program, ())
    return lambda *arguments: _run(closed.jaxpr, closed.consts, arguments)


def _equation(equation, inputs):
    name, parameters = equation.primitive.name, equation.params
    if name == "cond":
        return jax.lax.switch(inputs[0], [_inner(branch) for branch in parameters["branches"]], *inputs[1:])
    if name == "while":
        n, m = parameters["cond_nconsts"], parameters["body_nconsts"]
        of_test, of_body, carry = inputs[:n], inputs[n : n + m], inputs[n + m :]
        test, body = _inner(parameters["cond_jaxpr"]), _inner(parameters["body_jaxpr"])
        return jax.lax.while_loop(lambda c: test(*of_test, *c)[0], lambda c: body(*of_body, *c), carry)
    if name == "scan":
        n, m = parameters["num_consts"], parameters["num_carry"]
        fixed, carry, rows = inputs[:n], inputs[n : n + m], inputs[n + m :]
        body = _inner(parameters["jaxpr"])

        def step(carry, rows):
            out = body(*fixed, *carry, *rows)
            return out[:m], out[m:]

        options = {"length": parameters["length"], "reverse": parameters["reverse"]}
        carry, rows = jax.lax.scan(step, carry, rows, **options)
        return [*carry, *rows]
    if name == "platform_index":  # tests run on CPUs, and other branches are the default
        platforms = parameters["platforms"]
        index = next(i for i, names in enumerate(platforms) if names is None or "cpu" in names)
        return [np.int32(index)]
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in parameters and name not in ("reduce", "scatter-add", "scatter", "custom_lin"):
            return _inner(parameters[key])(*inputs)
    if name == "scatter-add":  # its own little program of an addition is of float32
        options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        return [jax.lax.scatter_add(*inputs, **{option: parameters[option] for option in options})]
    if name == "bitcast_convert_type":  # random draws make floats of bits
        inputs = [x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x for x in inputs]
        return [_wide(equation.primitive.bind(*inputs, **parameters))]
    if name == "reduce_precision":
        return inputs
    changed = {k: np.dtype(np.float64) for k in _TYPES if parameters.get(k) == np.float32 and k in parameters}
    found = equation.primitive.bind(*inputs, **(parameters | changed))
    return found if equation.primitive.multiple_results else [found]
