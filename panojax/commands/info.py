"""`panojax info`: what a checkpoint, a head or a PyTorch file holds."""

import dataclasses
import pathlib
from typing import Annotated, Any

import tyro

from panojax.errors import InputError
from panojax.extras import need


@dataclasses.dataclass(frozen=True)
class Options:
    """Say what a checkpoint folder, a head's file or a PyTorch checkpoint holds. Nothing in it is executed.

    For example:
        panojax info me
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """Checkpoint folder, "default", "random", head (.npz) or its folder, or pickle, torch.save or safetensors file."""
    parameters: bool = False
    """List every parameter with its shape, mean and spread."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input."""
    path = pathlib.Path(options.path)
    built_in = options.path in ("default", "random")
    if not built_in and (path / "head.npz").is_file():
        path /= "head.npz"
    if built_in or path.is_dir():
        _checkpoint(options)
    elif not path.exists():
        raise InputError(f"path must be a checkpoint folder or a file, got {options.path!r}, which does not exist")
    elif path.suffix.lower() == ".npz":
        _head(path)
    else:
        _torch_file(options)


def _checkpoint(options: Options) -> None:
    """A checkpoint's configuration and the size of its networks."""
    from panojax.commands.arguments import load_model
    from panojax.config import to_json
    from panojax.files.checkpoint import checkpoint_folder
    from panojax.files.packed import is_packed, read_manifest

    params = load_model(options.path, {})
    packed = checkpoint_folder(options.path)
    print(f"{options.path}: {'generator and encoders' if params.encoders is not None else 'generator'}")
    print("\ngenerator")
    _print_values(to_json(params.config.generator))
    if params.config.encoder is not None:
        print("\nencoders")
        _print_values(to_json(params.config.encoder))
    _print_values({"framing": params.config.framing})
    if is_packed(packed):
        print("\ntraining")
        _print_values(read_manifest(packed)["about"])
    print("\nparameters")
    networks = {f"generator {name}": tree for name, tree in params.generator["params"].items()}
    networks |= {f"encoders {name}": tree for name, tree in (params.encoders or {}).items()}
    _print_parameters(networks, options.parameters)


def _head(path: pathlib.Path) -> None:
    """A head's arrays and its model."""
    from panojax.config import to_json
    from panojax.files.head_file import read_head

    head, mark = read_head(path)
    print(f"{path}: head, {path.stat().st_size / 2**20:.1f} MiB")
    for field in dataclasses.fields(head):
        value = getattr(head, field.name)
        print(f"  {field.name}: {_shape(value)}")
    print(f"\nmodel, its rendering parameters' SHA-256 {mark.weights}")
    _print_values(to_json(mark.config))


def _shape(value: Any) -> Any:
    """The shape of an array; of local branches, those of their maps."""
    if value is None:
        return "none"
    if hasattr(value, "branches"):
        return ", ".join(str(_shape(branch)) for branch in value.branches)
    return list(getattr(value, "features", value).shape)


def _torch_file(options: Options) -> None:
    """The networks of a PyTorch file."""
    networks = read_networks(options.path)
    print(f"{options.path}: {', '.join(networks)}")
    for name, checkpoint in networks.items():
        print(f"\n{name}: {checkpoint.class_name or 'state dict'}")
        for title, values in _options(checkpoint).items():
            if values:
                print(f" {title}")
                _print_values({key: value for key, value in values.items() if key != "rendering_kwargs"})
    print("\nparameters")
    grouped = {
        f"{name} {module}".strip(): {k: v for k, v in checkpoint.state_dict.items() if k.split(".")[0] == module}
        for name, checkpoint in networks.items()
        for module in dict.fromkeys(key.split(".")[0] for key in checkpoint.state_dict)
    }
    _print_parameters(grouped, options.parameters)


def _options(checkpoint: Any) -> dict[str, dict[str, Any]]:
    """What a network was made with, by title; a generator's options by what conversion makes of them."""
    from panojax.converters.options import sort_options

    beside = {"attributes": checkpoint.attributes, "arrays beside": {k: x.tolist() for k, x in _small(checkpoint)}}
    if "superresolution_module" not in checkpoint.rendering_kwargs:
        made = {"init_kwargs": checkpoint.init_kwargs, "rendering_kwargs": checkpoint.rendering_kwargs}
        return made | beside
    found = sort_options(checkpoint.init_kwargs, checkpoint.rendering_kwargs)
    titles = {
        "options used": found.used,
        "options without effect at inference": {k: f"{v!r}: {why}" for k, (v, why) in found.ignored.items()},
        "options refused": {k: f"{v!r}: needs {what}" for k, (v, what) in found.refused.items()},
    }
    return titles | beside


def _small(checkpoint: Any) -> list[tuple[str, Any]]:
    return [(name, array) for name, array in checkpoint.beside.items() if array.size <= 64]


def read_networks(path: str) -> dict[str, Any]:
    """The networks of a PyTorch file by name, as `panojax.converters.read.Checkpoint`s.

    Raises:
      InputError: the file cannot be read, or holds neither networks nor a state dict.
    """
    from panojax.converters.read import read_checkpoint

    try:
        # A name that no network has: it is not looked at where there is only one network, or a state dict.
        return {"one network": read_checkpoint(path, "")}
    except InputError as error:
        found, reason = {}, error
    for name in ("G_ema", "G", "D"):
        try:
            found[name] = read_checkpoint(path, name)
        except InputError:
            continue
    if not found:
        raise reason
    return found


def _print_values(values: dict[str, Any]) -> None:
    """Names and values, one a line, nested ones as JSON."""
    import json

    from panojax.terminal.progress import one_line

    for name, value in values.items():
        print(f"  {one_line(str(name))}: {json.dumps(value, default=str)}")


def _print_parameters(networks: dict[str, Any], full: bool) -> None:
    """A table of networks with their size, or of all their parameters."""
    from panojax.params import count

    if full:
        print(need("clu.parameter_overview", "listing every parameter").get_parameter_overview(networks))
        return
    width = max(map(len, networks), default=0)
    for name, tree in networks.items():
        print(f"  {name:{width}} {count(tree):>12,}")
    print(f"  {'total':{width}} {sum(map(count, networks.values())):>12,}")
