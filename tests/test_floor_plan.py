"""The floor plan of docs/architecture.md: what may import what, and what is known in one place alone."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "panojax"
# Folders and files at the top of the package, the lowest first: each imports only what stands before it.
ORDER = (
    *("errors", "extras", "arrays", "camera", "camera_conventions", "terminal", "devices", "kernels", "nn", "fields", "render"),
    *("generators", "encoders", "config", "params", "files", "converters", "losses", "inversion", "photo", "api"),
    *("export", "editing", "synthetic", "data", "viewer", "commands", "train", "eval"),
)


def modules():
    """{dotted name: path}."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name):
    """Modules of the package that a module imports, anywhere in it but for types alone."""
    tree = ast.parse(MODULES[name].read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types and (node.module or "").startswith("panojax"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def top(name):
    """The folder or file at the top of the package."""
    return name.split(".")[1] if "." in name else ""


def test_every_folder_has_its_place():
    assert {top(name) for name in MODULES} - {"", "__main__"} == set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_no_folder_imports_one_above_it(folder):
    above = ORDER[ORDER.index(folder) + 1 :]
    upward = [
        f"{name} imports {found}"
        for name in MODULES
        if top(name) == folder
        for found in imports(name)
        if top(found) in above
    ]
    assert not upward


def test_no_circles():
    """Not between files either, but for imports inside functions."""
    graph = {name: set() for name in MODULES}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("panojax"):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= (inner & set(MODULES)) or {node.module}
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            path.append(name)
            for found in graph[name] - {name}:
                visit(found)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)


def places(pattern, *allowed):
    """Files of the package whose code has a pattern, but for some folders."""
    found = re.compile(pattern)
    return [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if not str(path.relative_to(PACKAGE)).startswith(allowed) and found.search(path.read_text())
    ]


def test_planes_are_known_in_fields_alone():
    """How many there are, their depth slices, and the order of the networks' channels."""
    assert not places(r"texel_order|planes_from_image|image_from_planes|sample_trigrid|select_trigrid", "fields/")
    assert not places(r"3 \* [\w.]*(plane_)?features", "fields/")
    # The settings of the tri-grid stand in the generator's configuration and in what fills it.
    settings = ("fields/", "generators/generator_config.py", "converters/", "commands/convert.py", "params.py")
    assert not places(r"plane_depth|plane_axes|depth_interpolation", *settings, "kernels/lookup.py")


def test_the_pipeline_stands_once():
    """Networks of the encoders are called by the stages alone."""
    callers = places(r"encode_(styles|offsets|local)\(", "encoders/encoder.py", "inversion/stages.py")
    assert callers == ["train/directions.py"]  # which needs the codes of many pictures, and no heads


def test_storage_is_known_in_kernels_alone():
    words = r"optimization_barrier|platform_dependent|output_first|by_texel|[\"']folded[\"']|custom_vmap|custom_jvp"
    assert not places(words, "kernels/", "fields/trigrid.py")


def test_links_lead_outward():
    """The package holds no link, so that a checkout without symbolic links imports."""
    assert not [path for path in PACKAGE.rglob("*") if path.is_symlink()]
    for name in ("encoders", "train", "eval", "converters"):
        assert (PACKAGE / name / "__init__.py").is_file()
