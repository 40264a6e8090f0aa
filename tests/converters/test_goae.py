"""GOAE's two files beside a generator's."""

import jax
import numpy as np
import pytest
import recipe
from conftest import solid_generator
from safetensors.numpy import save_file

import panojax
from panojax.config import Config
from panojax.converters.goae import add_goae
from panojax.converters.layout import torch_name
from panojax.encoders.goae import GoaeEncoder, small
from panojax.inversion.stages import abstract_variables

PICKLE = recipe.GOLDEN / "panohead_mini.pkl"
ENCODER = small()
BUFFERS = {
    "swin_model.layers.0.blocks.0.attn.relative_coords_table": np.zeros((1, 7, 7, 2), np.float32),
    "swin_model.layers.0.blocks.0.attn.relative_position_index": np.zeros((16, 16), np.int64),
    "swin_model.layers.2.blocks.1.attn_mask": np.zeros((4, 16, 16), np.float32),
}


@pytest.fixture(scope="module")
def generator():
    return solid_generator(64)


@pytest.fixture(scope="module")
def states(generator):
    """Both files' state dicts, as PyTorch has them, and our variables."""
    model = Config(generator.config.generator, ENCODER, encoders=1)
    variables, states = {}, {}
    for name, groups in abstract_variables(model).items():
        states[name] = {}

        def draw(path, leaf, state=states[name]):
            names = tuple(key.key for key in path)[1:]
            array = recipe.normal(torch_name(names), leaf.shape)
            if names[-1] == "logit_scale":
                state[torch_name(names)] = array[:, None, None]
            elif names[-1].endswith("kernel"):
                state[torch_name(names)] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            else:
                state[torch_name(names)] = array
            return array

        variables[name] = jax.tree_util.tree_map_with_path(draw, groups)
    states = {name: {key: np.ascontiguousarray(x) for key, x in state.items()} for name, state in states.items()}
    return states, variables


def write(folder, state, name="encoder_FFHQ.safetensors"):
    save_file(state, folder / name)
    return folder / name


def test_both_files_fit(generator, states, tmp_path):
    """With buffers that are computed, and batch counts; codes are offsets from the generator's own mean."""
    (codes, features), variables = states[0].values(), states[1]
    encoder = write(tmp_path, codes | BUFFERS)
    afa = write(tmp_path, features | {"input_layer.1.num_batches_tracked": np.array(3)}, "afa_FFHQ.safetensors")
    params = add_goae(generator, encoder, afa, config=ENCODER)
    assert params.config.encoders == 1 and params.config.encoder == ENCODER
    jax.tree.map(lambda got, want: np.testing.assert_array_equal(got[0], want), params.encoders["both"], variables)
    own = generator.generator["constants"]["backbone.mapping"]["w_avg"]
    np.testing.assert_array_equal(params.encoders["latent_average"], np.broadcast_to(own, (10, 32)))
    alone = add_goae(generator, encoder, config=ENCODER)
    assert jax.tree.structure(alone) == jax.tree.structure(params)
    np.testing.assert_array_equal(
        alone.encoders["both"]["goae_features"]["params"]["cross_att_gamma"]["linear2"]["bias"], 1
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda state: {name: x for name, x in state.items() if ".2.blocks.1." not in name},
            r"the encoder must have \[1, 1, 2, 1\] blocks in its stages, got \[1, 1, 1, 1\]$",
        ),
        (
            lambda state: state | {name: np.zeros((64, 64), np.int64) for name in BUFFERS if "index" in name},
            "the encoder must have windows of 4 tokens a side, got 8$",
        ),
        (
            lambda state: (
                {name: x for name, x in state.items() if name != "swin_model.norm.weight"} | {"odd": np.zeros(1)}
            ),
            "does not fit goae_codes: 1 missing: swin_model.norm.weight .*; 1 unused: odd$",
        ),
        (lambda state: {"odd": np.zeros(1)}, r"must have \[1, 1, 2, 1\] blocks in its stages, got \[\]$"),
    ],
    ids=["depth", "window", "names", "another file"],
)
def test_other_encoders_are_refused(generator, states, tmp_path, change, message):
    path = write(tmp_path, change(states[0]["goae_codes"]))
    with pytest.raises(panojax.InputError, match=message) as caught:
        add_goae(generator, path, config=ENCODER)
    assert "\n" not in str(caught.value) and "encoder_FFHQ" in str(caught.value)


def test_an_adapter_that_does_not_fit_is_refused(generator, states, tmp_path):
    encoder = write(tmp_path, states[0]["goae_codes"])
    afa = write(tmp_path, {"input_layer.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, "afa.safetensors")
    with pytest.raises(panojax.InputError, match=r"afa.safetensors: .* goae_features: \d+ missing: .* 1 mis-shaped: "):
        add_goae(generator, encoder, afa, config=ENCODER)


@pytest.mark.parametrize(
    "files, message",
    [
        ({"afa": "a.pt"}, "^afa must come with goae, whose codes it goes on from, got it alone$"),
        ({"goae": "e.pt", "visible": "v.pt", "occluded": "o.pt"}, "^goae must come in place of visible and occluded"),
        (
            {"latent_average": "w.npy"},
            "^latent_average must come with visible and occluded, or with goae, got it alone$",
        ),
    ],
)
def test_files_that_do_not_go_together_are_refused(tmp_path, files, message):
    with pytest.raises(panojax.InputError, match=message):
        panojax.convert(PICKLE, tmp_path / "out", **files)
    assert not (tmp_path / "out").exists()


def test_the_authors_encoder_needs_their_codes(tmp_path):
    """A file of the authors' depths for a generator of fewer codes: one line."""
    depths = {
        f"swin_model.layers.{stage}.blocks.{n}.a": np.zeros(1)
        for stage, d in enumerate((2, 2, 18, 2))
        for n in range(d)
    }
    path = write(tmp_path, depths)
    with pytest.raises(panojax.InputError, match="must have 8 style codes or more, got 6"):
        add_goae(solid_generator(16), path, config=GoaeEncoder())
