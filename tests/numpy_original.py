"""The originals' generator in NumPy (float64), from a state dict and what its pickle carries: one sample, plain loops.

Written from the rules, not from our modules: it reads `init_kwargs`, `rendering_kwargs` and the renderer's `plane_axes`
as the originals do, so that what conversion makes of a file can be compared with it. And pickles of that kind.
"""

import pickle
import sys
import types

import numpy as np
import recipe
from flax.traverse_util import flatten_dict

from panojax.converters.layout import torch_name
from panojax.params import abstract_generator

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16  # of up-sampling: times 4


def lrelu(x):
    return np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)


def softplus(x):
    return np.logaddexp(0, x)


def second_moment(x):
    return x / np.sqrt(np.mean(x**2) + 1e-8)


def correlate(x, weight, padding):
    """x [C, H, W] with weight [O, C, k, k]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)


def spread(x):
    """A zero between any two pixels."""
    out = np.zeros((x.shape[0], 2 * x.shape[1] - 1, 2 * x.shape[2] - 1))
    out[:, ::2, ::2] = x
    return out


def upsampled(image):
    return np.stack([correlate(spread(plane[None]), FIR[None, None], 2)[0] for plane in image])


def resized(image, side, antialias):
    """Bilinear with half-pixel centres, [C, H, W] -> [C, side, side]; if antialiased, a triangle as wide as a pixel."""
    old = image.shape[1]
    matrix = np.zeros((side, old))
    reach = max(old / side, 1) if antialias else 1
    for i in range(side):
        centre = (i + 0.5) * old / side - 0.5
        for j in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
            weight = max(0, 1 - abs(j - centre) / reach)
            if antialias and 0 <= j < old:
                matrix[i, j] += weight
            elif not antialias:
                matrix[i, min(max(j, 0), old - 1)] += weight
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.einsum("ia,jb,cab->cij", matrix, matrix, image, optimize=True)


def filtered(x, sigma):
    """upfirdn2d.filter2d of [N, H, W, C] by the kernel exp2(-(i / sigma)^2), |i| <= floor(3 sigma), of sum 1."""
    size = int(np.floor(sigma * 3))
    if size == 0:
        return x
    kernel = np.exp2(-((np.arange(-size, size + 1) / sigma) ** 2))
    kernel /= kernel.sum()
    for axis in (1, 2):
        x = np.apply_along_axis(lambda row: np.convolve(row, kernel)[size:-size], axis, x)
    return x


class Original:
    """`TriPlaneGenerator` of PanoHead, or of EG3D where there is no `triplane_depth`."""

    def __init__(self, state, init_kwargs, rendering_kwargs, plane_axes, rendering_resolution=64):
        self.state = {name: np.asarray(array, np.float64) for name, array in state.items()}
        self.kwargs, self.options, self.axes = init_kwargs, rendering_kwargs, np.asarray(plane_axes, np.float64)
        self.panohead = "triplane_depth" in rendering_kwargs
        self.resolution = rendering_resolution

    def linear(self, name, x, multiplier=1.0):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return weight @ x * (multiplier / np.sqrt(weight.shape[1])) + bias * multiplier

    def mapping(self, name, z, label, truncation=1.0):
        """w; `name` is "backbone.mapping" or "t_mapping"."""
        own = self.kwargs.get("mapping_kwargs", {})
        multiplier = 1.0 if name == "t_mapping" else own.get("lr_multiplier", 0.01)
        label = label * self.options.get("c_scale", 0)
        x = np.concatenate([second_moment(z), second_moment(self.linear(f"{name}.embed", label))])
        layers = own.get("num_layers", 8)
        for i in range(layers):
            x = self.linear(f"{name}.fc{i}", x, multiplier)
            x = x if name == "t_mapping" and i == layers - 1 else lrelu(x)
        average = self.state[f"{name}.w_avg"]
        return average + truncation * (x - average)

    def adapted(self, z, label, truncation=1.0):
        """Label and translation of `apply_delta_c`."""
        label = np.zeros(25) if self.options["c_gen_conditioning_zero"] else label
        delta = self.mapping("t_mapping", z, label, truncation)
        moved = label.copy()
        moved[[3, 7, 11]] += delta
        return moved, delta

    def layer(self, name, x, w, *, up=False, rgb=False, clamp=None, noise=True):
        weight, styles = self.state[f"{name}.weight"], self.linear(f"{name}.affine", w)
        if rgb:
            styles = styles / np.sqrt(weight.shape[1])
        weight = weight * styles[None, :, None, None]
        if not rgb:
            weight = weight / np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        if up:  # zeros between pixels, then the filter and the flipped kernel, as one
            composed = np.zeros((*weight.shape[:2], 6, 6))
            for i, j in np.ndindex(4, 4):
                composed[:, :, i : i + 3, j : j + 3] += FIR[i, j] * weight[:, :, ::-1, ::-1]
            x = correlate(spread(x), composed, 3)
        else:
            x = correlate(x, weight, weight.shape[2] // 2)
        if not rgb and noise:
            x = x + self.state[f"{name}.noise_const"] * self.state[f"{name}.noise_strength"]
        x = x + self.state[f"{name}.bias"][:, None, None]
        x = x if rgb else lrelu(x)
        return x if clamp is None else np.clip(x, -clamp, clamp)

    def synthesis(self, name, w):
        """The image of a backbone, or of the background."""
        clamp = self.kwargs.get("conv_clamp", 256)
        x, resolution = self.state[f"{name}.b4.const"], 4
        x = self.layer(f"{name}.b4.conv1", x, w, clamp=clamp)
        image = self.layer(f"{name}.b4.torgb", x, w, rgb=True, clamp=clamp)
        while f"{name}.b{2 * resolution}.conv0.weight" in self.state:
            resolution *= 2
            x = self.layer(f"{name}.b{resolution}.conv0", x, w, up=True, clamp=clamp)
            x = self.layer(f"{name}.b{resolution}.conv1", x, w, clamp=clamp)
            image = upsampled(image) + self.layer(f"{name}.b{resolution}.torgb", x, w, rgb=True, clamp=clamp)
        return image

    def look_up(self, image, points):
        """The mean over the planes [M, 32] of points [M, 3]: `project_onto_planes`, then `grid_sample`."""
        depth, side = self.options.get("triplane_depth", 1), image.shape[1]
        planes, total = image.reshape(3, 32, depth, side, side), 0.0
        for plane, axes in zip(planes, self.axes):
            place = points * (2 / self.options["box_warp"]) @ np.linalg.inv(axes)
            sizes = np.array([side, side, depth])
            texel = ((place + 1) * sizes - 1) / 2
            if not self.panohead:
                texel[:, 2] = 0
            first = np.floor(texel).astype(int)
            for corner in np.ndindex(2, 2, 2):
                index = first + corner
                weight = np.prod(1 - np.abs(texel - index), axis=1)
                inside = np.all((index >= 0) & (index < sizes), axis=1)
                x, y, z = np.clip(index, 0, sizes - 1).T
                total = total + plane[:, z, y, x].T * (weight * inside)[:, None]
        return total / 3

    def field(self, image, points):
        """Density [M] and colours [M, 32]."""
        hidden = softplus(self.rows("decoder.net.0", self.look_up(image, points)))
        out = self.rows("decoder.net.2", hidden)
        kind, colours = self.options.get("decoder_activation", "sigmoid"), out[:, 1:]
        if kind == "sigmoid":
            colours = 1.002 / (1 + np.exp(-colours)) - 0.001
        elif kind == "lrelu":
            colours = lrelu(colours)
        density = out[:, 0]
        if self.panohead:
            limit = self.options["box_warp"] / 2 - 0.1
            density = np.where((np.abs(points[:, [0, 2]]) > limit).any(axis=1), -1000.0, density)
        return density, colours

    def rows(self, name, x):
        """A decoder's layer for points [M, C]."""
        weight, multiplier = self.state[f"{name}.weight"], self.options.get("decoder_lr_mul", 1)
        return x @ weight.T * (multiplier / np.sqrt(weight.shape[1])) + self.state[f"{name}.bias"] * multiplier

    def limits(self, origins, directions):
        """Where rays begin and end, as `get_ray_limits_box` and the renderer have it."""
        options, count = self.options, len(origins)
        if options["ray_start"] != "auto":
            return np.full(count, options["ray_start"]), np.full(count, options["ray_end"])
        half = options["box_warp"] / 2
        with np.errstate(divide="ignore"):
            low, high = (-half - origins) / directions, (half - origins) / directions
        start, end = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
        missed = start > end
        start[missed], end[missed] = -1, -2
        valid = end > start
        if valid.any():
            start[~valid] = start[valid].min()
            end[~valid] = start[valid].max()
        return start, end

    def march(self, densities, depths, colours):
        alphas = 1 - np.exp(-softplus((densities[:, 1:] + densities[:, :-1]) / 2 - 1) * np.diff(depths, axis=1))
        passed = np.cumprod(np.concatenate([np.ones((len(alphas), 1)), 1 - alphas + 1e-10], axis=1), axis=1)[:, :-1]
        weights = alphas * passed
        feature = (weights[..., None] * (colours[:, 1:] + colours[:, :-1]) / 2).sum(axis=1)
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore"):
            depth = (weights * (depths[:, 1:] + depths[:, :-1]) / 2).sum(axis=1) / total
        depth = np.where(np.isnan(depth), np.inf, depth)
        if self.options.get("white_back", False):
            feature = feature + 1 - total[:, None]
        return feature, total, np.clip(depth, depths.min(), depths.max()), weights

    def render(self, image, label, coarse, fine):
        """Feature [R * R, 32], weight, depth: `ImportanceRenderer` with these draws."""
        side = round(len(coarse) ** 0.5)
        pixel = (np.arange(side) + 0.5) / side
        x, y = (a.ravel() for a in np.meshgrid(pixel, pixel))
        matrix, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
        directions = np.linalg.solve(lens, np.stack([x, y, np.ones_like(x)])).T @ matrix[:3, :3].T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        origins = np.broadcast_to(matrix[:3, 3], directions.shape)
        start, end = (limit[:, None] for limit in self.limits(origins, directions))
        steps = np.arange(coarse.shape[1]) / (coarse.shape[1] - 1)
        depths = start + steps * (end - start) + coarse * (end - start) / (coarse.shape[1] - 1)

        def sampled(depths):
            points = origins[:, None] + depths[..., None] * directions[:, None]
            densities, colours = self.field(image, points.reshape(-1, 3))
            return densities.reshape(depths.shape), colours.reshape(*depths.shape, -1)

        densities, colours = sampled(depths)
        if fine.shape[1]:
            weights = self.march(densities, depths, colours)[3]
            more = drawn(depths, weights, fine)
            more_densities, more_colours = sampled(more)
            depths = np.concatenate([depths, more], axis=1)
            order = np.argsort(depths, axis=1, kind="stable")
            depths = np.take_along_axis(depths, order, 1)
            densities = np.take_along_axis(np.concatenate([densities, more_densities], 1), order, 1)
            colours = np.take_along_axis(np.concatenate([colours, more_colours], 1), order[..., None], 1)
        return self.march(densities, depths, colours)[:3]

    def pictures(self, w, label, coarse, fine):
        """{"image", "raw", "depth", "weight"}, channels first: `synthesis` with constant noise."""
        options = self.options
        feature, weight, depth = self.render(self.synthesis("backbone.synthesis", w), label, coarse, fine)
        side, antialias = round(len(coarse) ** 0.5), options.get("sr_antialias", True)
        feature, weight = feature.T.reshape(-1, side, side), weight.reshape(1, side, side)
        if options.get("decoder_activation", "sigmoid") == "sigmoid":
            feature = feature * 2 - 1
        if options.get("use_background", False):
            feature = feature + (1 - weight) * resized(self.synthesis("bcg_synthesis", w), side, antialias)
        raw = self.layer("torgb", feature, w, rgb=True) if options.get("use_torgb_raw", False) else feature[:3]
        clamp = 256 if self.kwargs.get("sr_num_fp16_res", 0) > 0 else None
        x, image = (a if side == 64 else resized(a, 64, antialias) for a in (feature, raw))  # the 2X module
        for block, up in ((0, False), (1, True)):
            name, own = f"superresolution.block{block}", {"clamp": clamp, "noise": False}
            x = self.layer(f"{name}.conv0", x, w, up=up, **own)
            x = self.layer(f"{name}.conv1", x, w, **own)
            image = (upsampled(image) if up else image) + self.layer(f"{name}.torgb", x, w, rgb=True, clamp=clamp)
        return {"image": image, "raw": raw, "depth": depth.reshape(1, side, side), "weight": weight}


def drawn(depths, weights, uniforms):
    """`sample_importance` and `sample_pdf` with these uniforms."""
    padded = np.pad(weights, ((0, 0), (1, 1)), constant_values=-np.inf)
    peaks = np.maximum(padded[:, 1:], padded[:, :-1])
    smooth = (peaks[:, 1:] + peaks[:, :-1]) / 2 + 0.01
    middles = (depths[:, 1:] + depths[:, :-1]) / 2
    out = np.zeros_like(uniforms, np.float64)
    for ray, (weight, middle) in enumerate(zip(smooth[:, 1:-1] + 1e-5, middles)):
        cdf = np.concatenate([[0], np.cumsum(weight / weight.sum())])
        for i, u in enumerate(uniforms[ray]):
            above = np.searchsorted(cdf, u, side="right")
            below, above = max(above - 1, 0), min(above, len(weight))
            width = cdf[above] - cdf[below]
            width = 1 if width < 1e-5 else width
            out[ray, i] = middle[below] + (u - cdf[below]) / width * (middle[above] - middle[below])
    return out


def random_state(config, name, *, loud=1.0):
    """A PyTorch state dict for a generator's configuration, of plausible sizes; `loud` scales the constants."""
    state = {}
    for (_, network, *path), leaf in flatten_dict(abstract_generator(config)).items():
        key = f"{network}.{torch_name(tuple(path))}"
        array = recipe.normal(f"{name}/{key}", leaf.shape)
        if path[-1] == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        if path[-1] == "kernel" and network == "backbone.mapping" and path[-2].startswith("fc"):
            array = array * 100
        if path[-1] == "const":
            array = loud * array.transpose(2, 0, 1)
        if path[-1] in ("bias", "noise_strength", "w_avg"):
            array = (1.0 if path[-2:-1] == ["affine"] else 0.0) + 0.1 * array
        state[key] = np.array(array, np.float32, order="C")
    return state


class _Persistent:
    """Stands for a module of the originals while it is pickled."""

    def __init__(self, class_name, **state):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": "raise RuntimeError('run')", "class_name": self.class_name}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta | {"state": self.state},)


def write_pickle(path, state, init_kwargs, rendering_kwargs, *, plane_axes=None, init_args=(), **attributes):
    """A network pickle {"G_ema": TriPlaneGenerator} whose parameters are NumPy arrays."""

    def tree(names):
        parameters = {name: array for name, array in names.items() if "." not in name}
        children = dict.fromkeys(name.split(".")[0] for name in names if "." in name)
        modules = {
            child: tree({n.split(".", 1)[1]: a for n, a in names.items() if n.startswith(f"{child}.")})
            for child in children
        }
        return _Persistent("Module", _parameters=parameters, _buffers={}, _modules=modules)

    network = tree(state)
    network.class_name = "TriPlaneGenerator"
    renderer = {} if plane_axes is None else {"plane_axes": np.asarray(plane_axes, np.float32)}
    network.state["_modules"]["renderer"] = _Persistent(
        "ImportanceRenderer", _parameters={}, _buffers={}, _modules={}, **renderer
    )
    network.state |= {"_init_args": init_args, "_init_kwargs": init_kwargs | {"rendering_kwargs": rendering_kwargs}}
    network.state |= {"rendering_kwargs": rendering_kwargs, **attributes}
    package, persistence = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise RuntimeError("run")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    known = {"torch_utils": package, "torch_utils.persistence": persistence}
    sys.modules.update(known)
    try:
        path.write_bytes(pickle.dumps({"G_ema": network}, protocol=4))
    finally:
        for name in known:
            del sys.modules[name]
