"""The built wheel carries templates, migrations and sample data: it works where there is no checkout."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

CHECKOUT = Path(__file__).parent.parent


def run(*command, status=0, **kwargs):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **kwargs)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, CHECKOUT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of a clean environment's commands."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)  # our own pip installs into it
    quick = ("--quiet", "--disable-pip-version-check", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", *quick, wheel)
    return folder / "bin"


def test_every_data_file_of_the_package_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "-C", CHECKOUT, "ls-files", "fraudguard", "dialplan/templates").split()
    expected = {name.replace("dialplan/templates/", "fraudguard/dialplan/templates/", 1) for name in tracked}
    expected.discard("fraudguard/dialplan/templates")  # the link that leads to them in a checkout
    assert expected <= names
    assert any(name.endswith(".sql") for name in expected)
    assert any(name.endswith(".j2") for name in expected)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_wheel_works_without_a_checkout(installed, tmp_path):
    fraudguard = installed / "fraudguard"
    run(fraudguard, "init", "--sample", cwd=tmp_path)
    verdict = run(fraudguard, "check", "0118821600000", "--trunk", "carrier", "--json", status=1, cwd=tmp_path)
    assert json.loads(verdict)["reason"] == "over_limit"
    rendered = run(fraudguard, "dialplan", "render", cwd=tmp_path)
    assert "[fraudguard-out-carrier]" in rendered
