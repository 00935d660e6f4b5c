import pytest
from command_line import CommandLine


@pytest.fixture
def fraudguard(tmp_path) -> CommandLine:
    command = CommandLine(tmp_path / "fraudguard.toml")
    command("init")
    return command


@pytest.fixture
def path(tmp_path):
    return tmp_path / "asterisk.d" / "fraudguard.conf"


def test_render_prints_the_dialplan(fraudguard):
    assert "[fraudguard-out-carrier]" in fraudguard("dialplan", "render").out


def test_render_writes_a_file_and_keeps_the_one_before(fraudguard, tmp_path):
    path = tmp_path / "out.conf"
    assert fraudguard("dialplan", "render", "--output", path).out == f"wrote {path}\n"
    assert path.read_text() == fraudguard("dialplan", "render").out
    assert fraudguard("dialplan", "render", "--output", path).out == f"{path} is unchanged\n"
    path.write_text(path.read_text() + "; mine\n")
    assert f"kept as {path}.previous" in fraudguard("dialplan", "render", "--output", path).out


def test_install_says_what_to_include_and_check_agrees(fraudguard, path):
    path.parent.mkdir()
    said = fraudguard("dialplan", "install", path).out
    assert f"wrote {path}\n" in said
    assert "include => fraudguard-out-carrier" in said
    assert fraudguard("dialplan", "check", path).out == f"{path}: in order\n"
    assert fraudguard("dialplan", "check", path, "--json").json == []


def test_check_names_line_and_remedy_and_says_no(fraudguard, path):
    path.parent.mkdir()
    fraudguard("dialplan", "install", path)
    path.write_text(path.read_text().replace("Congestion(10)", "System(x)"))
    result = fraudguard("dialplan", "check", path, status=1)
    assert f"{path}:1: the file was changed after fraudguard wrote it (write the file anew" in result.out
    assert "unknown application System" in result.out
    document = fraudguard("dialplan", "check", path, "--json", status=1).json
    assert [sorted(finding) for finding in document] == [["fix", "line", "what"]] * 2


def test_check_of_a_changed_configuration(fraudguard, path):
    path.parent.mkdir()
    fraudguard("dialplan", "install", path)
    fraudguard.config.write_text(fraudguard.config.read_text().replace('"congestion"', '"silence"'))
    assert "the configuration has changed" in fraudguard("dialplan", "check", path, status=1).out


def test_what_is_not_there_or_not_ours(fraudguard, path):
    assert "no such file (write it with" in fraudguard("dialplan", "check", path, status=2).err
    assert "cannot be written: No such file" in fraudguard("dialplan", "install", path, status=3).err
    path.parent.mkdir()
    path.write_text("[phones]\n")
    assert "was not written by fraudguard" in fraudguard("dialplan", "install", path, status=2).err
    assert "is not fraudguard's" in fraudguard("dialplan", "check", path, status=1).out


def test_a_file_that_cannot_be_read(fraudguard, path):
    path.parent.mkdir()
    path.symlink_to(path)  # a loop: no permission bits, which root would pass
    assert "cannot be read" in fraudguard("dialplan", "check", path, status=3).err
