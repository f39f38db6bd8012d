"""A key pair in two files."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from mpgameserver.cli.genkey import write_key_pair
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey


def test_the_two_files_are_a_pair(tmp_path):
    public = write_key_pair(tmp_path / "server.pem")
    assert public == tmp_path / "server.pem.pub"
    private_key = EllipticCurvePrivateKey.fromPEM((tmp_path / "server.pem").read_text())
    assert EllipticCurvePublicKey.fromPEM(public.read_text()) == private_key.getPublicKey()
    assert sorted(os.listdir(tmp_path)) == ["server.pem", "server.pem.pub"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_owner_may_read_the_private_key(tmp_path):
    write_key_pair(tmp_path / "server.pem")
    assert stat.S_IMODE((tmp_path / "server.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["server.pem", "server.pem.pub"])
def test_a_file_that_is_there_is_left_alone(tmp_path, there):
    (tmp_path / there).write_text("precious")
    with pytest.raises(FileExistsError, match=f"{there}' exists"):
        write_key_pair(tmp_path / "server.pem")
    assert os.listdir(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps links from most users")
def test_a_link_that_leads_nowhere_is_left_alone(tmp_path):
    (tmp_path / "server.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_key_pair(tmp_path / "server.pem")
    assert os.listdir(tmp_path) == ["server.pem"]


def test_no_private_key_stays_behind_without_its_public_key(tmp_path, monkeypatch):
    def fail(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(EllipticCurvePublicKey, "savePEM", fail)
    with pytest.raises(OSError, match="No space left"):
        write_key_pair(tmp_path / "server.pem")
    assert os.listdir(tmp_path) == []


def test_of_many_who_write_at_once_one_has_the_name(tmp_path):
    path, done, refused = tmp_path / "server.pem", [], []
    barrier = threading.Barrier(8)

    def write():
        barrier.wait()
        try:
            done.append(write_key_pair(path))
        except FileExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (1, 7)
    key = EllipticCurvePrivateKey.fromPEM(path.read_text())
    assert EllipticCurvePublicKey.fromPEM(done[0].read_text()) == key.getPublicKey()
    assert sorted(os.listdir(tmp_path)) == ["server.pem", "server.pem.pub"]


def test_a_key_that_appears_after_the_look_is_not_overwritten(tmp_path, monkeypatch):
    """As when another process is a moment ahead."""
    path, new = tmp_path / "server.pem", EllipticCurvePrivateKey.new

    def slow():
        path.write_text("another's")
        return new()

    monkeypatch.setattr(EllipticCurvePrivateKey, "new", slow)
    with pytest.raises(FileExistsError, match="exists"):
        write_key_pair(path)
    assert path.read_text() == "another's"
