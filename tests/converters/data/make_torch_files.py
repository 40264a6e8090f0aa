"""Makes the PyTorch files beside this script; their values are drawn from tests/recipe.py. Needs PyTorch (2.13 did it).

PYTHONPATH=tests python tests/converters/data/make_torch_files.py
"""

import pathlib
import pickle
from collections import OrderedDict

import numpy as np
import recipe
import torch

DATA = pathlib.Path(__file__).parent


def drawn(name, shape):
    return torch.from_numpy(recipe.normal(name, shape))


def tensors():
    """One storage seen through several views, and every kind of number."""
    grid = drawn("grid", (4, 6))
    state = OrderedDict(
        grid=grid,
        transposed=grid.t(),
        strided=grid[1:, ::2],
        expanded=grid[0, :1].expand(3, 5),
        scalar=drawn("scalar", ()),
        empty=torch.zeros(0, 3),
        double=drawn("double", (3,)).double(),
        half=drawn("half", (2, 3)).half(),
        bfloat16=drawn("bfloat16", (2, 3)).bfloat16(),
        int64=torch.arange(-3, 4),
        int32=torch.arange(5, dtype=torch.int32),
        int16=torch.arange(5, dtype=torch.int16),
        int8=torch.arange(-2, 3, dtype=torch.int8),
        uint8=torch.arange(250, 256, dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        parameter=torch.nn.Parameter(drawn("parameter", (2, 2))),
    )
    state._metadata = OrderedDict(version=1)
    return state


def network():
    """A small network with parameters, saved and unsaved buffers, an empty slot and plain attributes."""
    net = torch.nn.Sequential(
        OrderedDict(conv=torch.nn.Conv2d(2, 3, 1), norm=torch.nn.BatchNorm2d(3), act=torch.nn.PReLU())
    )
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(drawn(name, tensor.shape))
    net.register_buffer("unsaved", drawn("unsaved", (2,)), persistent=False)
    net.register_parameter("nothing", None)
    net.rendering_kwargs = {
        "ray_start": np.float64(2.25),
        "pivot": np.array([0.0, 0.0, 0.2]),
        "sizes": torch.Size([3, 4]),
    }
    net.rendering_kwargs |= {
        "depth": np.int64(7),
        "flag": np.bool_(True),
        "dtype": torch.float16,
        "tags": {"a"},
        "f": (1, None),
    }
    net.neural_rendering_resolution = 64
    return net


def negated():
    """The imaginary part of a conjugate is the stored one under PyTorch's negative bit."""
    imaginary = torch.view_as_complex(drawn("complex", (3, 2))).conj().imag
    assert imaginary.is_neg()
    return OrderedDict(plain=drawn("complex", (3, 2)), negated=imaginary, weight=torch.nn.Parameter(imaginary))


def main():
    torch.save(tensors(), DATA / "tensors_zip.pt")
    torch.save(tensors(), DATA / "tensors_legacy.pt", _use_new_zipfile_serialization=False)
    wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in network().state_dict().items()}}
    wrapped |= {
        "global_step": 7,
        "opts": {"lr": 1e-4, "layers": [1, 2]},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
    }
    torch.save(wrapped, DATA / "wrapped_zip.pth")
    torch.save(wrapped, DATA / "wrapped_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(network(), DATA / "network_zip.pt")
    for protocol in (2, 4, 5):
        networks = {"G": network(), "D": None, "options": np.arange(6, dtype=">i4").reshape(2, 3)}
        (DATA / f"network_protocol{protocol}.pkl").write_bytes(pickle.dumps(networks, protocol))
    torch.save(drawn("latent_avg", (1, 512)), DATA / "latent_avg.pt")
    torch.save(negated(), DATA / "negated_zip.pt")
    torch.save(negated(), DATA / "negated_legacy4.pt", pickle_protocol=4, _use_new_zipfile_serialization=False)
    (DATA / "negated.pkl").write_bytes(pickle.dumps(negated(), 4))


if __name__ == "__main__":
    main()
