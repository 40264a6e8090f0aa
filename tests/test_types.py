"""The shapes that public functions and seams declare hold, checked by beartype in a process of its own."""

import subprocess
import sys
import textwrap

import pytest

MODULES = (
    *("panojax.api", "panojax.camera", "panojax.fields.representation", "panojax.fields.trigrid"),
    *("panojax.encoders.stage", "panojax.inversion.pipeline", "panojax.inversion.stages"),
    "panojax.generators.generator",
)

CHECKED = """
    import sys
    from jaxtyping import install_import_hook
    with install_import_hook(MODULES, "beartype.beartype"):
        import panojax
    import jax, jax.numpy as jnp, numpy as np
    import local_model, scenes
    jax.config.update("jax_disable_most_optimizations", True)
    params, image = local_model.params(), scenes.portraits(1)[0]
    camera = panojax.look_at(0.3)
"""

WHOLE = """
    head, parts = panojax.invert(params, image, camera, return_parts=True)
    view = panojax.render(params, head, np.asarray(camera))
    mask = panojax.occlusion_mask(params, view, camera)
    assert mask.shape == params.config.generator.field.cells
    made = panojax.generate(params, np.ones(params.config.generator.z_dim, np.float32))
    panojax.render(params, made, panojax.orbit(4)[1])
    panojax.mirror(camera)
    print("checked")
"""

BROKEN = """
    from panojax.fields.trigrid import TriGrid
    try:
        TriGrid(8, 1, 4).look_up(jnp.zeros((3, 1, 8, 8, 4)), jnp.zeros((5, 2)))
    except Exception as error:
        print(type(error).__name__)
"""


def run(code, tests):
    """What a process prints whose modules of the seams are checked."""
    text = textwrap.dedent(CHECKED.replace("MODULES", repr(list(MODULES))) + code)
    command = [sys.executable, "-W", "ignore", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tests)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("code, printed", [(WHOLE, "checked"), (BROKEN, "TypeCheckError")], ids=["whole", "broken"])
def test_declared_shapes_are_checked(code, printed, request):
    assert printed in run(code, request.config.rootpath / "tests")
