"""Draw a scene from any camera with OpenGL 3.3 (moderngl over EGL): colour with exact coverage, depth, part labels.

Drawn at `supersample` times the size and averaged: solid parts first; then what is soft at its edges (hair, lashes),
solid where its alpha is at least SOLID_ALPHA, then blended from back to front. The key light has a shadow map; the soft
surround is summed per vertex over directions with a depth map each, so that creases, the neck and the scalp below hair
lie in shade.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panojax.errors import InputError
from panojax.extras import need
from panojax.synthetic import shaders
from panojax.synthetic.cameras import RADIUS, Doubles, split_label
from panojax.synthetic.identity import Light
from panojax.synthetic.scene import PARTS, UNITS_PER_MILLIMETRE, Part, Scene

DEPTH_STEPS = 8192  # stored depth is uint16: world units along the ray times this; 0 is empty
NEAR, FAR = RADIUS - 1.1, RADIUS + 1.1
REACH = 0.72  # world units from the origin that shadow maps cover
KEY_MAP, SOFT_MAP = 1024, 128
SOFT_DIRECTIONS = 32
SOLID_ALPHA = 0.7
FINEST_MIPS = (
    2  # coarser ones mix strands with their neighbours in the atlas: dashes where thin layers are seen edge-on
)
BOUNCED = 0.2  # share of the surround that reaches hidden places by way of others
SOFT_BIAS = 0.014  # world units
SAME_SURFACE = 0.02  # world units: depths of one pixel's samples closer than this are averaged

NOISE_CELLS = 32  # per side of the repeating noise texture (shaders.py divides by it)
DEFAULTS: dict[str, Any] = {
    "colour": (1.0, 1.0, 1.0),
    "second": (1.0, 1.0, 1.0),
    "finish": (0.0, 0.0, 0.0, 10.0),
    "extra": (1.0, 0.0, 0.0, 0.0),
    "cuts": (-9.0, -9.0, 9.0, 0.0),
    "fur_length": 0.0,
    "fur_grain": (1.0, 0.0),
    "fur_comb": (0.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class View:
    """One picture of a head, top row first."""

    rgba: NDArray[np.uint8]  # (size, size, 4) sRGB colour, not multiplied by alpha; alpha is the exact coverage
    depth: NDArray[
        np.uint16
    ]  # (size, size) distance along the pixel's ray in world units x DEPTH_STEPS; 0 where alpha < 1/2
    parts: NDArray[np.uint8]  # (size, size) index into scene.PARTS; 0 where alpha < 1/2


def projection(label: Doubles) -> Doubles:
    """World to clip space (4, 4) of a camera label; clip y points down, so that the first row read back is the
    picture's top.
    """
    cam2world, lens = split_label(label)
    rotation = cam2world[:3, :3].T
    world2cam = np.eye(4)
    world2cam[:3, :3] = rotation
    world2cam[:3, 3] = -rotation @ cam2world[:3, 3]
    clip = np.zeros((4, 4))
    clip[0] = 2 * lens[0, 0], 0, 2 * lens[0, 2] - 1, 0
    clip[1] = 0, 2 * lens[1, 1], 2 * lens[1, 2] - 1, 0
    clip[2] = 0, 0, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    clip[3] = 0, 0, 1, 0
    return clip @ world2cam


def orthographic(direction: Any) -> Doubles:
    """World to clip space (4, 4) of a parallel camera in `direction` (unit, towards the light) that covers REACH."""
    forward = -np.asarray(direction, float)
    helper = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward]) / REACH
    return matrix


def sphere_directions(count: int) -> Doubles:
    """Unit vectors (count, 3) spread evenly over the sphere (a Fibonacci spiral)."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    azimuth = np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - y * y)
    return np.stack([ring * np.sin(azimuth), y, ring * np.cos(azimuth)], axis=1)


def noise_cells() -> NDArray[np.uint8]:
    """Random bytes (cells, cells, cells): value noise once the GPU interpolates them."""
    return np.random.default_rng(0).integers(0, 256, (NOISE_CELLS,) * 3, dtype=np.uint8)


def surround(light: Light, directions: Doubles) -> Doubles:
    """Radiance (n, 3) of the soft light from each direction: sky to ground, and the second and third light as wide
    lobes.
    """
    up = 0.5 + 0.5 * directions[:, 1:2]
    radiance = up * np.array(light.sky) + (1 - up) * np.array(light.ground)
    for towards, colour in zip(light.directions[1:], light.colours[1:]):
        lobe = np.exp(6.0 * (directions @ np.array(towards) - 1))[:, None]
        radiance = radiance + lobe * 12.0 / (2 * np.pi) * np.array(colour)
    return radiance


def open_context(device: int | None = None) -> Any:
    """An OpenGL 3.3 context without a window.

    `device`: which EGL device (None: EGL's own choice). InputError if there is none.
    """
    moderngl = need("moderngl", "rendering heads")
    options: Any = {"backend": "egl"} if device is None else {"backend": "egl", "device_index": device}
    try:
        return moderngl.create_context(standalone=True, require=330, **options)
    except Exception as error:  # moderngl raises bare Exception
        raise InputError(
            f"device must be an EGL device with OpenGL 3.3 (Debian: libegl1 libgl1-mesa-dri), got {error}"
        ) from error


@dataclass(frozen=True)
class Drawn:
    """A part on the GPU."""

    part: Part
    buffers: dict[str, Any]  # by vertex attribute
    order: Any  # corners of the triangles, in drawing order
    texture: Any
    array: Any  # for shading
    casting: Any  # for depth maps
    middles: NDArray[np.float32]  # (triangles, 3)


class HeadRenderer:
    """Owns an OpenGL context and its buffers for pictures of `size` pixels.

    Load a scene, then take its views; then close it.
    """

    def __init__(self, size: int, *, supersample: int = 2, device: int | None = None):
        self.size, self.samples = size, supersample
        self.gl = open_context(device)
        self.gl.front_face = "cw"  # clip y points down, see projection
        gl, wide = self.gl, size * supersample
        self.shade = {kind: self._program(kind, shaders.VERTEX, shaders.FRAGMENT) for kind in shaders.KINDS}
        self.cast = {kind: self._program(kind, shaders.DEPTH_VERTEX, shaders.DEPTH_FRAGMENT) for kind in shaders.KINDS}
        resolve = gl.program(shaders.SCREEN_VERTEX, shaders.RESOLVE_FRAGMENT)
        self.resolve_program, self.resolve = resolve, gl.vertex_array(resolve, [])
        self.colour, self.part = gl.texture((wide, wide), 4), gl.texture((wide, wide), 1)
        self.depth = gl.depth_texture((wide, wide))
        self.depth.compare_func = ""
        for texture in (self.colour, self.part, self.depth):
            texture.filter = gl.NEAREST, gl.NEAREST
        self.solid = gl.framebuffer([self.colour, self.part], self.depth)
        self.soft = gl.framebuffer([self.colour], self.depth)
        self.outputs = [gl.texture((size, size), 4), *(gl.texture((size, size), 1, dtype=d) for d in ("u2", "u1"))]
        self.output = gl.framebuffer(self.outputs)
        self.key_depth = gl.depth_texture((KEY_MAP, KEY_MAP))
        self.key_depth.compare_func = "<="
        self.key_map = gl.framebuffer([], self.key_depth)
        self.soft_map = gl.framebuffer([], gl.depth_texture((SOFT_MAP, SOFT_MAP)))
        self.noise = gl.texture3d((NOISE_CELLS,) * 3, 1, noise_cells().tobytes())
        self.noise.filter = gl.LINEAR, gl.LINEAR
        self.textures: dict[str, Any] = {}
        self.parts: list[Drawn] = []

    def _program(self, kind: str, vertex: str, fragment: str) -> Any:
        return self.gl.program(shaders.header(kind) + vertex, shaders.header(kind) + fragment)

    def close(self) -> None:
        """Free the context and all it holds."""
        self._drop()
        self.gl.release()

    def _drop(self) -> None:
        for drawn in self.parts:
            for held in (drawn.array, drawn.casting, drawn.order, *drawn.buffers.values()):
                held.release()
            if not drawn.part.picture_name:
                drawn.texture.release()
        self.parts = []

    def load(self, scene: Scene) -> None:
        """Upload a scene in place of the last one, and work out its shadows.

        The lights stand still while cameras move.
        """
        self._drop()
        self.parts = [self._upload(part) for part in scene.parts]
        uniforms = scene.uniforms | self._light_uniforms(scene.identity.light)
        for program in self.shade.values():
            self._set(program, uniforms)
        self.gl.enable_only(self.gl.DEPTH_TEST)
        self._cast_shadows(self.key_map, orthographic(scene.identity.light.directions[0]))
        self._bake_surround(scene)

    def _texture(self, part: Part) -> Any:
        if part.picture_name in self.textures:
            return self.textures[part.picture_name]
        gl, (height, width) = self.gl, part.picture.shape[:2]
        texture = gl.texture((width, height), 4, np.ascontiguousarray(part.picture[::-1]).tobytes())
        texture.repeat_x = texture.repeat_y = False
        if min(width, height) > 1:
            texture.build_mipmaps(0, FINEST_MIPS)
            texture.filter = gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR
        if part.picture_name:
            self.textures[part.picture_name] = texture
        return texture

    def _upload(self, part: Part) -> "Drawn":
        gl = self.gl
        columns = {
            "position": part.positions,
            "normal": part.normals,
            "tangent": part.tangents,
            "rest": part.rest,
            "uv": part.uv,
            "paint": part.paint,
            "ambient": np.zeros_like(part.positions),
        }
        buffers = {name: gl.buffer(column.astype("f4").tobytes()) for name, column in columns.items()}
        order = gl.buffer(part.triangles.astype("i4").tobytes())

        def array(program: Any) -> Any:
            used = [name for name in columns if name in program]
            return gl.vertex_array(program, [(buffers[n], f"{columns[n].shape[1]}f", n) for n in used], order)

        middles = part.positions[part.triangles].mean(axis=1)
        shade, cast = self.shade[part.kind], self.cast[part.kind]
        return Drawn(part, buffers, order, self._texture(part), array(shade), array(cast), middles)

    @staticmethod
    def _set(program: Any, uniforms: dict[str, Any]) -> None:
        for name, value in uniforms.items():
            if name in program:
                member = program[name]
                if isinstance(value, np.ndarray):
                    value = (
                        value[: member.array_length] if value.shape[1] == 3 else value
                    )  # unused ends are optimised away
                    member.write(np.ascontiguousarray(value, "f4").tobytes())
                else:
                    member.value = value

    @staticmethod
    def _light_uniforms(light: Light) -> dict[str, Any]:
        return {
            "lights": np.array(light.directions),
            "light_colours": np.array(light.colours),
            "shadow_size": light.softness * UNITS_PER_MILLIMETRE / (2 * REACH),
            "key_camera": orthographic(light.directions[0]).T,
            "tone": (light.contrast, light.saturation),
        }

    def _part_uniforms(self, part: Part) -> dict[str, Any]:
        numbers = {"part": PARTS.index(part.label), "fur_layers": float(part.layers)}
        return DEFAULTS | numbers | part.uniforms

    def _cast_shadows(self, target: Any, camera: Doubles) -> None:
        target.use()
        target.clear(depth=1.0)
        for drawn in self.parts:
            if drawn.part.casts:
                program = self.cast[drawn.part.kind]
                self._set(program, self._part_uniforms(drawn.part) | {"camera": camera.T, "picture": 0})
                drawn.texture.use(0)
                drawn.casting.render()

    def _bake_surround(self, scene: Scene) -> None:
        """Irradiance of the surround at every corner, less what hides it: a sum over directions, a depth map each."""
        directions = sphere_directions(SOFT_DIRECTIONS)
        radiance = surround(scene.identity.light, directions)
        points = np.concatenate([part.positions for part in scene.parts])
        normals = np.concatenate([part.normals for part in scene.parts])
        total = np.zeros_like(points)
        for direction, colour in zip(directions, radiance.astype(np.float32)):
            camera = orthographic(direction)
            self._cast_shadows(self.soft_map, camera)
            depths = np.frombuffer(self.soft_map.read(attachment=-1, components=1, dtype="f4"), np.float32)
            seen = points @ camera[:3, :3].T.astype(np.float32) * 0.5 + 0.5
            column, row = (np.clip(seen[:, k] * SOFT_MAP, 0, SOFT_MAP - 1).astype(np.int32) for k in (0, 1))
            open_sky = depths[row * SOFT_MAP + column] > seen[:, 2] - SOFT_BIAS / (2 * REACH)
            facing = np.maximum(normals @ direction.astype(np.float32), 0)
            total += (facing * (BOUNCED + (1 - BOUNCED) * open_sky))[:, None] * colour
        total *= 4.0 / SOFT_DIRECTIONS
        ends = np.cumsum([len(part.positions) for part in scene.parts])
        for drawn, ambient in zip(self.parts, np.split(total, ends[:-1])):
            drawn.buffers["ambient"].write(ambient.astype("f4").tobytes())

    def view(self, label: Doubles) -> View:
        """The loaded scene from a camera label (25,)."""
        gl = self.gl
        cam2world, lens = split_label(label)
        eye, forward = cam2world[:3, 3], cam2world[:3, 2]
        units = {"picture": 0, "key_depth": 1, "noise": 2}
        for program in self.shade.values():
            self._set(program, {"camera": projection(label).T, "eye": tuple(eye)} | units)
        self.key_depth.use(1)
        self.noise.use(2)
        self.solid.use()
        self.solid.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        for drawn in self.parts:
            gl.enable_only(gl.DEPTH_TEST | (gl.CULL_FACE if drawn.part.kind == "skin" else gl.NOTHING))
            self._draw(drawn, (SOLID_ALPHA, 2.0), forward)
        gl.enable_only(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        self.soft.use()
        self.soft.depth_mask = False
        for drawn in self.parts:
            if drawn.part.sees_through:
                self._draw(drawn, (0.02, SOLID_ALPHA), forward)
        self.soft.depth_mask = True
        return self._resolve(lens)

    def _draw(self, drawn: "Drawn", alpha: tuple[float, float], forward: Doubles) -> None:
        part = drawn.part
        self._set(self.shade[part.kind], self._part_uniforms(part) | {"alpha_range": alpha})
        if part.kind == "hair" or alpha[1] <= 1.0:
            away = drawn.middles @ forward.astype(np.float32)
            order = np.argsort(
                away if alpha[1] > 1.0 else -away, kind="stable"
            )  # near first to solid, far first to blend
            drawn.order.write(part.triangles[order].tobytes())
        drawn.texture.use(0)
        drawn.array.render(instances=part.layers)

    def _resolve(self, lens: Doubles) -> View:
        gl, size = self.gl, self.size
        gl.enable_only(gl.NOTHING)
        self.output.use()
        for unit, texture in enumerate((self.colour, self.depth, self.part)):
            texture.use(unit)
        numbers = {
            "samples": self.samples,
            "near_far": (NEAR, FAR),
            "depth_scale": float(DEPTH_STEPS),
            "edge": SAME_SURFACE,
        }
        units = {"shaded": 0, "depths": 1, "parts": 2, "lens": (lens[0, 0], lens[0, 2], lens[1, 2])}
        self._set(self.resolve_program, numbers | units)
        self.resolve.render(gl.TRIANGLES, vertices=3)
        colour, depth, part = (texture.read() for texture in self.outputs)
        return View(
            np.frombuffer(colour, np.uint8).reshape(size, size, 4),
            np.frombuffer(depth, np.uint16).reshape(size, size),
            np.frombuffer(part, np.uint8).reshape(size, size),
        )
