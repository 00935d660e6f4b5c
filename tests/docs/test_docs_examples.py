"""What the README and the tutorial tell to type is typed here, and what they show is compared with what came.

A block marked bash is run, and the block marked text behind it is its output. All blocks of a page run in one shell,
because the later ones need what the earlier ones made.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from fraudguard.cli import cli

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PORT = "4573"
SECONDS = 30
CUT = "----- the next block -----"

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<call>"),
    (re.compile(r"/\S*/fraudguard\.db"), "<database>"),
    (re.compile(r" +$", re.MULTILINE), ""),
)


def blocks(path):
    """Return the (language, text) of every fenced block of a page, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        (language, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))
        for indent, language, body in _FENCED.findall(text)
    ]


def transcript(path):
    """Return what a page tells to type, each with the output that it shows or None."""
    found = blocks(path)
    following = [*found[1:], ("", "")]
    return [
        (body, shown if kind == "text" else None)
        for (language, body), (kind, shown) in zip(found, following, strict=True)
        if language == "bash"
    ]


def steady(text):
    """Put a word in place of what differs from one run to the next."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return text.strip("\n")


class Place:
    """A folder as a newcomer has it: the commands in .venv/bin, nothing else."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("FRAUDGUARD_")}
        self.environment |= {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "FRAUDGUARD_AGI__PORT": "0",
            "FRAUDGUARD_HTTP__PORT": "0",
            "FRAUDGUARD_STRICT__HOURS": "[]",  # what is shown was made by day
        }
        self.port = PORT
        self.service = None
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(BIN)

    def type(self, scripts):
        """Run scripts one after the other in one bash; return the output of each."""
        text = f"\necho '{CUT}'\n".join(scripts).replace(PORT, self.port)
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.stdout.split(CUT)

    def serve(self, *options):
        """Start the service on a port that the system chooses, and wait until it says which."""
        self.service = subprocess.Popen(
            [BIN / "fraudguard", *options, "run"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        greeting = self.service.stdout.readline()
        assert greeting.startswith("fraudguard listens on 127.0.0.1:"), greeting
        self.port = re.search(r":(\d+)\.", greeting)[1]

    def close(self):
        if self.service is not None:
            self.service.terminate()
            try:
                self.service.wait(10)
            except subprocess.TimeoutExpired:
                self.service.kill()
                self.service.wait(5)
            self.service.stdout.close()


@pytest.fixture
def place(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("the examples are written for bash")
    made = Place(tmp_path)
    yield made
    made.close()


def compare(told, outputs):
    assert len(outputs) == len(told)
    for (script, shown), output in zip(told, outputs, strict=True):
        assert shown is None or steady(output) == steady(shown), script


def test_readme_works_as_written(place):
    place.type(["fraudguard --config var/fraudguard.toml init --sample"])  # with serve: what `make run` does
    place.serve("--config", "var/fraudguard.toml")
    told = transcript(ROOT / "README.md") + transcript(ROOT / "docs" / "how-to" / "run-as-a-service.md")
    assert len([shown for _, shown in told if shown]) == 2
    compare(told, place.type([script for script, _ in told]))


def test_tutorial_works_as_written(place):
    told = transcript(ROOT / "docs" / "tutorial" / "first-guarded-call.md")
    start = [script for script, _ in told].index("fraudguard run\n")
    before, after = told[:start], told[start + 1 :]
    compare(before, place.type([script for script, _ in before]))
    place.serve()
    compare(after, place.type([script for script, _ in after]))


# The other pages: what they tell to type is at least a command that exists


# "VARIABLE=value fraudguard ..." and "sudo -u USER fraudguard ..." too; the colon keeps error messages out.
_COMMAND = re.compile(r"(?:\w+=\S+ |sudo (?:-u \w+ )?(?:--\S+ )?)*(fraudguard [^:|\[\]]*?)(?: [|>].*)?")


def told_commands():
    """Return every line of a block that is one command."""
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    lines = [(page.name, line) for page in pages for _, body in blocks(page) for line in body.splitlines()]
    commands = [(name, found[1]) for name, line in lines if (found := _COMMAND.fullmatch(line))]
    return [pytest.param(command, id=f"{name}: {command}") for name, command in dict.fromkeys(commands)]


@pytest.mark.parametrize("line", told_commands())
def test_every_command_told_anywhere_exists_and_takes_its_options(line):
    words = shlex.split(line, comments=True)[1:]
    command = cli
    while words and isinstance(command, click.Group):
        if words[0] == "--config":
            words = words[2:]
        command, words = command.commands[words[0]], words[1:]
    command.make_context("told", words)
