"""Draw a head of the second edition with OpenGL 3.3: meshes, then strands as ribbons that face the camera.

Drawn at `supersample` times the size and averaged. The key light has a shadow map, in which strands thin the light that
passes; the surround is summed per vertex over directions with a depth map each, and inside hair in a grid (volume.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panojax.synthetic.cameras import FOCAL, RADIUS, Doubles, split_label
from panojax.synthetic.edition2 import lighting, shaders, volume
from panojax.synthetic.edition2.growth import MM, Strands
from panojax.synthetic.edition2.scene import PARTS, Head
from panojax.synthetic.edition2.solid import dot
from panojax.synthetic.meshes import Floats
from panojax.synthetic.render import (
    DEPTH_STEPS,
    FAR,
    FINEST_MIPS,
    NEAR,
    NOISE_CELLS,
    REACH,
    SAME_SURFACE,
    SOLID_ALPHA,
    View,
    noise_cells,
    open_context,
    orthographic,
    projection,
    sphere_directions,
)
from panojax.synthetic.scene import Part
from panojax.synthetic.shaders import RESOLVE_FRAGMENT, SCREEN_VERTEX

KEY_MAP, SOFT_MAP = 1024, 128
SOFT_DIRECTIONS = 32
BOUNCED = 0.12  # share of the surround that reaches hidden places by way of others
SOFT_BIAS = 0.014  # world units
FEW = 5  # every so manieth strand, as much wider, hides the sky from what lies below
DEFAULTS: dict[str, Any] = {
    "colour": (1.0, 1.0, 1.0),
    "second": (1.0, 1.0, 1.0),
    "finish": (0.0, 0.0, 0.3, 0.5),
    "extra": (1.0, 0.0, 0.0, 0.0),
    "cuts": (9.0, 0.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Drawn:
    """A mesh on the GPU."""

    part: Part
    buffers: dict[str, Any]
    order: Any
    texture: Any
    array: Any
    casting: Any
    middles: NDArray[np.float32]


@dataclass(frozen=True)
class DrawnStrands:
    """Strands on the GPU: all of them, and few for the surround's depth maps."""

    strands: Strands
    buffers: tuple[Any, ...]
    array: Any
    casting: Any
    few: Any


def ribbon_vertices(strands: Strands, ambient: Floats) -> tuple[bytes, bytes]:
    """Triangle strips of all strands, joined by triangles without area: positions, and halves (tangent 3, share along
    and side, tint 3, ambient 3, width's share) per vertex.
    """
    points = strands.points
    n, k = points.shape[:2]
    tangents = np.empty_like(points)
    tangents[:, 1:-1] = points[:, 2:] - points[:, :-2]
    tangents[:, 0], tangents[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    tangents /= np.sqrt(dot(tangents, tangents) + np.float32(1e-14))[..., None]
    along = np.linspace(0, 1, k, dtype=np.float32)
    values = np.empty((n, k, 12), np.float16)
    values[..., :3] = tangents
    values[..., 3] = along
    values[..., 5:8] = strands.tint[:, None]
    values[..., 8:11] = ambient
    values[..., 11] = 1 - (1 - strands.taper) * along**3
    if strands.fine is not None:
        values[..., 11] *= strands.fine[:, None].astype(np.float16)
    repeats = np.full(k, 2)
    repeats[[0, -1]] = 3
    at = np.repeat(np.arange(k), repeats)
    sides = np.tile(np.array([-1, 1], np.float16), k)
    sides = np.concatenate([sides[:1], sides, sides[-1:]])
    doubled = np.take(values, at, axis=1)
    doubled[..., 4] = sides
    return np.take(points, at, axis=1).astype("f4").tobytes(), doubled.tobytes()


class Renderer:
    """Owns an OpenGL context and its buffers for pictures of `size` pixels: load a head, take its views, close it."""

    def __init__(self, size: int, *, supersample: int = 3, device: int | None = None):
        self.size, self.samples = size, supersample
        self.gl = gl = open_context(device)
        gl.front_face = "cw"  # clip y points down, see projection
        wide = size * supersample
        self.shade = {k: self._program(k, shaders.VERTEX, shaders.FRAGMENT) for k in shaders.KINDS}
        self.cast = {k: self._program(k, shaders.DEPTH_VERTEX, shaders.DEPTH_FRAGMENT) for k in shaders.KINDS}
        self.strand = self._program("strand", shaders.STRAND_VERTEX, shaders.STRAND_FRAGMENT)
        self.strand_cast = self._program("strand", shaders.STRAND_DEPTH_VERTEX, shaders.EMPTY_FRAGMENT)
        self.resolve_program = gl.program(SCREEN_VERTEX, RESOLVE_FRAGMENT)
        self.resolve = gl.vertex_array(self.resolve_program, [])
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
        self.key_depth.compare_func = ""
        self.key_map = gl.framebuffer([], self.key_depth)
        self.soft_map = gl.framebuffer([], gl.depth_texture((SOFT_MAP, SOFT_MAP)))
        self.noise = gl.texture3d((NOISE_CELLS,) * 3, 1, noise_cells().tobytes())
        self.noise.filter = gl.LINEAR, gl.LINEAR
        self.environment = gl.texture((lighting.COLUMNS, lighting.ROWS), 3, dtype="f2")
        self.environment.filter = gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR
        self.environment.repeat_y = False
        self.textures: dict[str, Any] = {}
        self.parts: list[Drawn] = []
        self.strands: list[DrawnStrands] = []

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
        for hair in self.strands:
            for held in (hair.array, hair.casting, hair.few, *hair.buffers):
                held.release()
        self.parts, self.strands = [], []

    def load(self, head: Head) -> None:
        """Upload a head in place of the last one, and work out its shadows: lights stand still while cameras move."""
        self._drop()
        surround = head.surround
        self.environment.write(surround.radiance.clip(0, 6e4).astype("f2").tobytes())
        self.environment.build_mipmaps()
        radiance = lighting.sampled(surround, volume.directions())
        ambient = volume.hair_ambient(list(head.strands), head.solid, radiance)
        self.parts = [self._upload(part) for part in head.parts]
        self.strands = [self._upload_strands(piece, light) for piece, light in zip(head.strands, ambient)]
        light = head.person.light
        uniforms = head.uniforms | {
            "key": tuple(surround.key),
            "key_colour": tuple(surround.key_colour),
            "shadow_size": light.softness * MM / (2 * REACH),
            "key_camera": orthographic(surround.key).T,
            "tone": (light.contrast, light.saturation),
            "reach": REACH,
        }
        for program in (*self.shade.values(), self.strand):
            self._set(program, uniforms)
        self.gl.enable_only(self.gl.DEPTH_TEST)
        self._cast_shadows(self.key_map, surround.key, few=False)
        self._bake_surround(head)

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

    def _upload(self, part: Part) -> Drawn:
        gl = self.gl
        columns = {
            "position": part.positions,
            "normal": part.normals,
            "rest": part.rest,
            "uv": part.uv,
            "paint": part.paint,
            "ambient": np.zeros((len(part.positions), 4)),
        }
        buffers = {name: gl.buffer(column.astype("f4").tobytes()) for name, column in columns.items()}
        order = gl.buffer(part.triangles.astype("i4").tobytes())

        def array(program: Any) -> Any:
            used = [name for name in columns if name in program]
            return gl.vertex_array(program, [(buffers[n], f"{columns[n].shape[1]}f", n) for n in used], order)

        middles = part.positions[part.triangles].mean(axis=1)
        shade, cast = self.shade[part.kind], self.cast[part.kind]
        return Drawn(part, buffers, order, self._texture(part), array(shade), array(cast), middles)

    def _upload_strands(self, strands: Strands, ambient: Floats) -> DrawnStrands:
        gl = self.gl
        few = Strands(strands.label, strands.points[::FEW], 0.0, strands.tint[::FEW], None, strands.taper)
        whole = [gl.buffer(data) for data in ribbon_vertices(strands, ambient)]
        part = [gl.buffer(data) for data in ribbon_vertices(few, ambient[::FEW])]
        names = ("tangent", "at", "tint", "ambient", "wide")

        def array(program: Any, buffers: list[Any]) -> Any:
            sizes = dict(zip(names, ("3f2", "2f2", "3f2", "3f2", "1f2")))
            used = [name for name in names if name in program]
            layout = " ".join(sizes[n] if n in program else f"{int(sizes[n][0]) * 2}x" for n in names)
            return gl.vertex_array(
                program, [(buffers[0], "3f", "position"), (buffers[1], layout, *used)], mode=gl.TRIANGLE_STRIP
            )

        arrays = array(self.strand, whole), array(self.strand_cast, whole), array(self.strand_cast, part)
        return DrawnStrands(strands, (*whole, *part), *arrays)

    @staticmethod
    def _set(program: Any, uniforms: dict[str, Any]) -> None:
        for name, value in uniforms.items():
            if name in program:
                if isinstance(value, np.ndarray):
                    program[name].write(np.ascontiguousarray(value, "f4").tobytes())
                else:
                    program[name].value = value

    def _part_uniforms(self, part: Part) -> dict[str, Any]:
        return DEFAULTS | {"part": PARTS.index(part.label)} | part.uniforms

    def _cast_shadows(self, target: Any, towards: Any, *, few: bool) -> Doubles:
        camera = orthographic(towards)
        target.use()
        target.clear(depth=1.0)
        for drawn in self.parts:
            if drawn.part.casts:
                self._set(self.cast[drawn.part.kind], self._part_uniforms(drawn.part) | {"camera": camera.T})
                drawn.casting.render()
        self._set(self.strand_cast, {"camera": camera.T, "towards": tuple(map(float, towards))})
        for hair in self.strands:
            wide = 0.75 * FEW if few else 1.0
            self._set(self.strand_cast, {"width": hair.strands.width * wide})
            (hair.few if few else hair.casting).render()
        return camera

    def _bake_surround(self, head: Head) -> None:
        """Irradiance of the surround at every corner, less what hides it: a sum over directions, a depth map each."""
        directions = sphere_directions(SOFT_DIRECTIONS)
        radiance = lighting.sampled(head.surround, directions)
        points = np.concatenate([part.positions for part in head.parts])
        normals = np.concatenate([part.normals for part in head.parts])
        total = np.zeros((len(points), 4), np.float32)
        for direction, colour in zip(directions, radiance):
            camera = self._cast_shadows(self.soft_map, direction, few=True)
            depths = np.frombuffer(self.soft_map.read(attachment=-1, components=1, dtype="f4"), np.float32)
            seen = points @ camera[:3, :3].T.astype(np.float32) * 0.5 + 0.5
            column, row = (np.clip(seen[:, k] * SOFT_MAP, 0, SOFT_MAP - 1).astype(np.int32) for k in (0, 1))
            open_sky = depths[row * SOFT_MAP + column] > seen[:, 2] - SOFT_BIAS / (2 * REACH)
            share = np.maximum(normals @ direction.astype(np.float32), 0) * (BOUNCED + (1 - BOUNCED) * open_sky)
            total += share[:, None] * np.append(colour, 1).astype(np.float32)
        total *= 4.0 / SOFT_DIRECTIONS
        ends = np.cumsum([len(part.positions) for part in head.parts])
        for drawn, ambient in zip(self.parts, np.split(total, ends[:-1])):
            drawn.buffers["ambient"].write(ambient.astype("f4").tobytes())

    def view(self, label: Doubles) -> View:
        """The loaded head from a camera label (25,)."""
        gl = self.gl
        cam2world, lens = split_label(label)
        eye, forward = cam2world[:3, 3], cam2world[:3, 2]
        units = {"picture": 0, "key_depth": 1, "noise": 2, "environment": 3}
        for program in (*self.shade.values(), self.strand):
            self._set(program, {"camera": projection(label).T, "eye": tuple(eye)} | units)
        for unit, texture in enumerate((self.key_depth, self.noise, self.environment), 1):
            texture.use(unit)
        self.solid.use()
        self.solid.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        for drawn in self.parts:
            if drawn.part.kind != "lens":
                gl.enable_only(gl.DEPTH_TEST | (gl.CULL_FACE if drawn.part.kind == "skin" else gl.NOTHING))
                self._draw(drawn, (SOLID_ALPHA, 2.0), forward)
        gl.enable_only(gl.DEPTH_TEST)
        sample = RADIUS / FOCAL / (self.size * self.samples)
        for hair in self.strands:
            numbers = {"width": hair.strands.width, "pixel": 0.8 * sample, "part": PARTS.index(hair.strands.label)}
            self._set(self.strand, numbers | dict(hair.strands.uniforms))
            hair.array.render()
        gl.enable_only(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        self.soft.use()
        self.soft.depth_mask = False
        for drawn in self.parts:
            if drawn.part.sees_through:
                self._draw(drawn, (0.0, 3.0) if drawn.part.kind == "lens" else (0.02, SOLID_ALPHA), forward)
        self.soft.depth_mask = True
        return self._resolve(lens)

    def _draw(self, drawn: Drawn, alpha: tuple[float, float], forward: Doubles) -> None:
        part = drawn.part
        self._set(self.shade[part.kind], self._part_uniforms(part) | {"alpha_range": alpha})
        if alpha[1] <= 1.0:  # blended from far to near
            order = np.argsort(-(drawn.middles @ forward.astype(np.float32)), kind="stable")
            drawn.order.write(part.triangles[order].tobytes())
        drawn.texture.use(0)
        drawn.array.render()

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
