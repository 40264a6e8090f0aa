"""What says the same thing in several places does: versions, workflows, the reference's pages."""

import pathlib
import re
import tomllib

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == PROJECT["version"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_well_formed(path):
    """Jobs with a time limit, a machine and steps that each run something; scripts name only extras that there are."""
    workflow = yaml.safe_load(path.read_text())
    assert workflow.keys() >= {"name", True, "permissions", "jobs"}  # YAML reads the key `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"].startswith("ubuntu")
        assert job["steps"] and all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert "timeout-minutes" in job or "environment" in job
        scripts = "\n".join(step.get("run", "") for step in job["steps"])
        named = {extra for found in re.findall(r"\.\[([a-z,]+)\]", scripts) for extra in found.split(",")}
        assert named <= PROJECT["optional-dependencies"].keys()


def test_the_oldest_versions_are_tried():
    """What the package says it runs on is what the tests' workflow runs it on."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    oldest, newest = workflow["jobs"]["pytest"]["strategy"]["matrix"]["include"]
    assert PROJECT["requires-python"] == f">={oldest['python']}"
    floors = dict(
        re.match(r"([a-z-]+)>=([\d.]+)$", text).groups()
        for text in PROJECT["dependencies"]
        if "flax" in text or text.startswith("jax>")
    )
    assert dict(pin.split("==") for pin in oldest["jax"].split()) == floors
    pythons = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert newest["python"] == max(pythons, key=lambda version: int(version.split(".")[1]))


def test_the_reference_has_every_folder():
    """Pages of the reference show whole folders; none is missing but commands, which are documented by `--help`."""
    shown = {
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: panojax\.(\w+)$", page.read_text(), re.MULTILINE)
    }
    folders = {path.parent.name for path in (ROOT / "panojax").glob("*/__init__.py")}
    files = {path.stem for path in (ROOT / "panojax").glob("[!_]*.py")}
    assert shown == (folders | files) - {"commands"}
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)["nav"]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert set(leaves(nav)) == pages


def leaves(nav):
    """Files of a navigation tree."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [leaf for entry in entries for leaf in leaves(entry)]
