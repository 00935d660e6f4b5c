"""Installing is whole or not at all, and never at another's expense."""

import os
import stat

import pytest

from fraudguard.dialplan.install import advice, install
from fraudguard.dialplan.render import render
from fraudguard.errors import InputError, UnreachableError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fraudguard.conf"


def test_a_new_file_is_readable_for_asterisk(settings, path):
    installed = install(render(settings), path)
    assert installed.changed
    assert installed.previous is None
    assert path.read_text() == render(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_the_previous_file_and_the_mode_are_kept(settings, make_settings, path):
    old, new = render(make_settings(dialplan={"ring_seconds": 30})), render(settings)
    install(old, path)
    path.chmod(0o600)
    installed = install(new, path)
    assert installed.previous == path.with_name("fraudguard.conf.previous")
    assert installed.previous.read_text() == old
    assert path.read_text() == new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    install(old, path)
    assert installed.previous.read_text() == new


def test_the_same_again_changes_nothing(settings, path):
    install(render(settings), path)
    before = path.stat().st_ino
    assert not install(render(settings), path).changed
    assert path.stat().st_ino == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_edited_by_hand_is_kept_as_the_previous_one(settings, path):
    install(render(settings), path)
    edited = path.read_text() + "; mine\n"
    path.write_text(edited)
    assert install(render(settings), path).previous.read_text() == edited


def test_an_empty_file_may_be_filled(settings, path):
    path.touch()
    assert install(render(settings), path).changed


@pytest.mark.parametrize("content", [b"[phones]\nexten => 1,1,Dial(SIP/1)\n", b"\xff\xfe\x00"])
def test_a_foreign_file_is_left_alone(settings, path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fraudguard\.conf: was not written by fraudguard and is left alone"):
        install(render(settings), path)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link(settings, tmp_path, path):
    target = tmp_path / "elsewhere.conf"
    target.touch()
    path.symlink_to(target)
    install(render(settings), path)
    assert path.is_symlink()
    assert target.read_text() == render(settings)


def test_a_missing_folder_is_named(settings, tmp_path):
    with pytest.raises(UnreachableError, match=r"asterisk/fraudguard\.conf: cannot be written: No such file or dir"):
        install(render(settings), tmp_path / "asterisk" / "fraudguard.conf")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(settings, path, monkeypatch):
    install(render(settings), path)
    kept = path.read_text()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnreachableError, match="No space left on device"):
        install(kept.replace("Congestion", "Ringing"), path)
    assert path.read_text() == kept
    assert sorted(path.parent.iterdir()) == [path, path.with_name("fraudguard.conf.previous")]


def test_the_advice_names_every_include_and_tenant(settings, path):
    text = "\n".join(advice(settings, path))
    assert f"#include {path}" in text
    assert "include => fraudguard-out-carrier\n" in text
    assert "include => fraudguard-out-second\n" in text
    assert "Gosub(fraudguard,${EXTEN},1(TRUNK))" in text
    assert "set_var=__FRAUDGUARD_TENANT=acme\n" in text


def test_without_tenants_no_variable_is_asked_for(make_settings, path):
    assert "set_var" not in "\n".join(advice(make_settings(tenants={}), path))


def test_what_is_no_file_is_left_alone(tmp_path):
    pipe = tmp_path / "fraudguard.conf"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is not a regular file"):
        install("text", pipe)
    assert pipe.is_fifo()
