"""The key classes: what they read and write, what they refuse, and what they keep to themselves."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest
from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from mpgameserver.crypto import (
    PUBLIC_KEY_PREFIX,
    PUBLIC_KEY_SIZE,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    InvalidSignature,
    load_public_key,
)

# A fixed key, so that a failure is the same in every run.
KEY = EllipticCurvePrivateKey(ec.derive_private_key(1234567, ec.SECP256R1()))
PUBLIC = KEY.getPublicKey()
OTHER = EllipticCurvePrivateKey(ec.derive_private_key(7654321, ec.SECP256R1()))

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")


def private_bytes(key, encoding=Encoding.PEM, encryption=None, form=PrivateFormat.PKCS8):
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def public_bytes(key, encoding=Encoding.PEM, form=PublicFormat.SubjectPublicKeyInfo):
    return key.public_bytes(encoding, form)


FOREIGN_KEYS = {
    "P-384": ec.derive_private_key(99, ec.SECP384R1()),
    "secp256k1": ec.derive_private_key(99, ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
}
foreign_keys = pytest.mark.parametrize("foreign", FOREIGN_KEYS.values(), ids=FOREIGN_KEYS)


class TestRoundTrips:
    def test_a_private_key_through_pem_text(self):
        pem = KEY.getPrivateKeyPEM()
        assert isinstance(pem, str)
        assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
        assert EllipticCurvePrivateKey.fromPEM(pem).getBytes() == KEY.getBytes()

    def test_a_private_key_through_der(self):
        assert EllipticCurvePrivateKey.fromBytes(KEY.getBytes()).getPublicKey() == PUBLIC

    def test_a_public_key_through_pem_text(self):
        pem = PUBLIC.getPublicKeyPEM()
        assert isinstance(pem, str)
        assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
        assert EllipticCurvePublicKey.fromPEM(pem) == PUBLIC

    def test_a_public_key_through_der(self):
        der = PUBLIC.getBytes()
        assert len(der) == PUBLIC_KEY_SIZE
        assert der.startswith(PUBLIC_KEY_PREFIX)
        assert EllipticCurvePublicKey.fromBytes(der) == PUBLIC

    def test_pem_is_taken_as_str_and_as_bytes(self):
        private_pem, public_pem = KEY.getPrivateKeyPEM(), PUBLIC.getPublicKeyPEM()
        assert EllipticCurvePrivateKey.fromPEM(private_pem.encode()).getPublicKey() == PUBLIC
        assert EllipticCurvePublicKey.fromPEM(public_pem.encode()) == PUBLIC

    def test_the_older_pem_form_of_a_private_key_is_read(self):
        inner = ec.derive_private_key(1234567, ec.SECP256R1())
        pem = private_bytes(inner, form=PrivateFormat.TraditionalOpenSSL)
        assert b"BEGIN EC PRIVATE KEY" in pem
        assert EllipticCurvePrivateKey.fromPEM(pem).getPublicKey() == PUBLIC

    def test_new_keys_differ(self):
        new = EllipticCurvePrivateKey.new
        assert new().getBytes() != new().getBytes()

    def test_the_curve_is_named(self):
        assert KEY.curve().name == PUBLIC.curve().name == "secp256r1"


class TestSignatures:
    def test_a_signature_verifies(self):
        assert PUBLIC.verify(KEY.sign(b"data"), b"data") is None

    def test_a_signature_is_at_most_72_bytes(self):
        assert max(len(KEY.sign(bytes([n]))) for n in range(200)) <= 72

    @pytest.mark.parametrize(
        ("signer", "data"), [(KEY, b"other data"), (OTHER, b"data")], ids=["data", "key"]
    )
    def test_one_of_other_data_or_another_key_does_not(self, signer, data):
        with pytest.raises(InvalidSignature):
            PUBLIC.verify(signer.sign(data), b"data")

    @given(st.binary(max_size=80))
    def test_no_other_bytes_are_a_signature(self, signature):
        with pytest.raises(InvalidSignature):
            PUBLIC.verify(signature, b"data")

    def test_the_error_can_be_caught_as_that_of_cryptography(self):
        with pytest.raises(exceptions.InvalidSignature):
            PUBLIC.verify(b"", b"data")


class TestExchange:
    def test_both_sides_get_the_same_secret(self):
        secret = KEY.exchange(OTHER.getPublicKey())
        assert secret == OTHER.exchange(PUBLIC)
        assert len(secret) == 32

    def test_with_another_key_it_is_another(self):
        assert KEY.exchange(OTHER.getPublicKey()) != KEY.exchange(PUBLIC)


class TestValueOfAPublicKey:
    def test_the_same_point_is_the_same_key(self):
        again = EllipticCurvePublicKey.fromBytes(PUBLIC.getBytes())
        assert again is not PUBLIC
        assert {PUBLIC: "found"}[again] == "found"

    def test_another_point_is_another_key(self):
        assert OTHER.getPublicKey() != PUBLIC

    def test_it_equals_nothing_but_a_public_key(self):
        for other in (PUBLIC.getBytes(), KEY, None):
            assert other != PUBLIC

    def test_a_compressed_point_is_written_uncompressed(self):
        x, y = (int.from_bytes(PUBLIC.getBytes()[i : i + 32], "big") for i in (27, 59))
        sign = bytes([2 + y % 2])
        head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        der = head + sign + x.to_bytes(32, "big")
        assert EllipticCurvePublicKey.fromBytes(der).getBytes() == PUBLIC.getBytes()


class TestWhatIsRefused:
    @foreign_keys
    def test_a_private_key_of_another_kind(self, foreign):
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePrivateKey.fromPEM(private_bytes(foreign))
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePrivateKey.fromBytes(private_bytes(foreign, Encoding.DER))

    @foreign_keys
    def test_a_public_key_of_another_kind(self, foreign):
        public = foreign.public_key()
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePublicKey.fromPEM(public_bytes(public))
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePublicKey.fromBytes(public_bytes(public, Encoding.DER))

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_a_private_key_with_a_password(self, encoding):
        inner = ec.derive_private_key(5, ec.SECP256R1())
        data = private_bytes(inner, encoding, BestAvailableEncryption(b"password"))
        pem = encoding is Encoding.PEM
        read = EllipticCurvePrivateKey.fromPEM if pem else EllipticCurvePrivateKey.fromBytes
        with pytest.raises(ValueError, match=r"[Pp]assword"):
            read(data)

    def test_a_private_key_for_a_public_one(self):
        with pytest.raises(ValueError, match="is a private key"):
            EllipticCurvePublicKey.fromPEM(KEY.getPrivateKeyPEM())
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePublicKey.fromBytes(KEY.getBytes())

    def test_a_public_key_for_a_private_one(self):
        with pytest.raises(ValueError, match="expected a private key"):
            EllipticCurvePrivateKey.fromPEM(PUBLIC.getPublicKeyPEM())
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePrivateKey.fromBytes(PUBLIC.getBytes())

    def test_a_point_that_is_not_on_the_curve(self):
        der = PUBLIC.getBytes()
        with pytest.raises(ValueError, match="P-256"):
            EllipticCurvePublicKey.fromBytes(der[:-1] + bytes([der[-1] ^ 1]))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data):
        for read in (
            EllipticCurvePublicKey.fromBytes,
            EllipticCurvePublicKey.fromPEM,
            EllipticCurvePrivateKey.fromBytes,
            EllipticCurvePrivateKey.fromPEM,
        ):
            with pytest.raises(ValueError, match="P-256"):
                read(data)

    def test_every_prefix_of_a_key(self):
        for size in range(PUBLIC_KEY_SIZE):
            with pytest.raises(ValueError, match="P-256"):
                EllipticCurvePublicKey.fromBytes(PUBLIC.getBytes()[:size])

    def test_a_path_is_told_how_it_is_read(self):
        for cls in (EllipticCurvePublicKey, EllipticCurvePrivateKey):
            with pytest.raises(
                ValueError, match=r"fromPEM takes the text: Path\(\.\.\.\)\.read_text"
            ):
                cls.fromPEM("server.pem")
            with pytest.raises(
                TypeError, match=r"not the path 'server\.pem'; fromPEM takes the text"
            ):
                cls.fromPEM(Path("server.pem"))

    def test_what_is_no_pem_text_is_not_repeated_for_it_may_be_a_secret(self):
        secret = KEY.getPrivateKeyPEM().splitlines()[1]
        with pytest.raises(ValueError, match="P-256") as raised:
            EllipticCurvePrivateKey.fromPEM(secret)
        assert secret not in str(raised.value)

    def test_text_that_no_pem_can_hold(self):
        with pytest.raises(ValueError, match="surrogates"):
            EllipticCurvePublicKey.fromPEM("\udc80")

    @pytest.mark.parametrize("value", [None, 5, bytearray(b"x"), Path("key.pem")])
    def test_what_is_neither_text_nor_bytes(self, value):
        for cls in (EllipticCurvePublicKey, EllipticCurvePrivateKey):
            with pytest.raises(TypeError, match="must be str or bytes"):
                cls.fromPEM(value)
            with pytest.raises(TypeError, match="must be bytes"):
                cls.fromBytes(value)

    def test_a_constructor_argument_that_is_no_key_of_the_right_half(self):
        inner = ec.derive_private_key(5, ec.SECP256R1())
        with pytest.raises(TypeError, match="public key"):
            EllipticCurvePublicKey(inner)
        with pytest.raises(TypeError, match="private key"):
            EllipticCurvePrivateKey(inner.public_key())

    def test_a_constructor_argument_of_another_curve(self):
        with pytest.raises(ValueError, match="secp384r1"):
            EllipticCurvePrivateKey(FOREIGN_KEYS["P-384"])


class TestSecrecy:
    def test_no_repr_shows_the_private_key(self):
        number = KEY.getBytes()[36:68]
        assert number.hex() in KEY.getBytes().hex()
        for shown in (repr(KEY), str(KEY), f"{KEY}", repr([KEY])):
            assert number.hex() not in shown
            assert str(int.from_bytes(number, "big")) not in shown

    def test_the_repr_tells_keys_apart(self):
        assert repr(KEY) != repr(OTHER)
        assert repr(PUBLIC) != repr(OTHER.getPublicKey())
        assert "sha256:" in repr(PUBLIC)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_public_key_is_pickled_by_its_pem_text(self, protocol):
        data = pickle.dumps(PUBLIC, protocol)
        assert b"BEGIN PUBLIC KEY" in data
        assert pickle.loads(data) == PUBLIC
        assert copy.deepcopy([PUBLIC]) == [PUBLIC]

    @pytest.mark.parametrize("call", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_a_private_key_is_not_handed_on_and_the_error_says_what_to_do(self, call):
        with pytest.raises(TypeError, match="the path of its PEM file"):
            call(KEY)

    def test_a_private_key_is_not_pickled_by_accident(self):
        with pytest.raises(TypeError):
            pickle.dumps(KEY)

    def test_a_copy_is_the_same_key(self):
        assert copy.copy(PUBLIC) == PUBLIC


class TestFiles:
    def test_a_saved_private_key_is_read_back(self, tmp_path):
        KEY.savePEM(tmp_path / "key.pem")
        assert (tmp_path / "key.pem").read_text() == KEY.getPrivateKeyPEM()

    def test_a_saved_public_key_is_read_back(self, tmp_path):
        PUBLIC.savePEM(tmp_path / "key.pub")
        assert (tmp_path / "key.pub").read_text() == PUBLIC.getPublicKeyPEM()

    def test_a_path_may_be_a_str_without_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        KEY.savePEM("key.pem")
        PUBLIC.savePEM("key.pub")
        assert sorted(os.listdir()) == ["key.pem", "key.pub"]

    @posix_only
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
    def test_a_private_key_file_has_mode_0600_under_every_umask(self, tmp_path, mask):
        before = os.umask(mask)
        try:
            KEY.savePEM(tmp_path / "key.pem")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600

    @posix_only
    def test_a_file_that_all_could_read_is_replaced_not_filled(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text("old")
        path.chmod(0o644)
        with path.open() as opened_before:
            KEY.savePEM(path)
            assert opened_before.read() == "old"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == KEY.getPrivateKeyPEM()

    @posix_only
    def test_at_no_moment_can_others_read_it(self, tmp_path, monkeypatch):
        seen = []
        for name in ("chmod", "fsync", "replace"):
            step = getattr(os, name)

            def watched(*args, step=step):
                seen.extend(file.stat().st_mode for file in tmp_path.iterdir())
                return step(*args)

            monkeypatch.setattr(os, name, watched)
        before = os.umask(0)
        try:
            KEY.savePEM(tmp_path / "key.pem")
        finally:
            os.umask(before)
        assert len(seen) == 3
        assert not any(mode & 0o077 for mode in seen)

    @posix_only
    def test_a_symbolic_link_is_replaced_and_its_target_left_alone(self, tmp_path):
        target = tmp_path / "target"
        target.write_text("not a key")
        link = tmp_path / "key.pem"
        link.symlink_to(target)
        for key in (KEY, PUBLIC):
            key.savePEM(link)
            assert not link.is_symlink()
            assert target.read_text() == "not a key"
            link.unlink()
            link.symlink_to(target)

    @posix_only
    @pytest.mark.parametrize("mask", [0o000, 0o077])
    def test_everybody_may_read_a_public_key_file(self, tmp_path, mask):
        before = os.umask(mask)
        try:
            PUBLIC.savePEM(tmp_path / "key.pub")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "key.pub").stat().st_mode) == 0o644

    def test_when_it_cannot_be_saved_nothing_changes(self, tmp_path, monkeypatch):
        path = tmp_path / "key.pem"
        path.write_text("old")

        def full(descriptor):
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            KEY.savePEM(path)
        assert os.listdir(tmp_path) == ["key.pem"]
        assert path.read_text() == "old"

    def test_a_folder_that_is_not_there_is_an_error(self, tmp_path):
        for key in (KEY, PUBLIC):
            with pytest.raises(FileNotFoundError, match=r"nowhere.key\.pem'$"):
                key.savePEM(tmp_path / "nowhere" / "key.pem")

    def test_the_error_names_the_file_that_was_asked_for(self, tmp_path):
        (tmp_path / "folder").mkdir()
        for key in (KEY, PUBLIC):
            with pytest.raises(OSError, match=r"folder'$") as raised:
                key.savePEM(tmp_path / "folder")
            assert raised.value.filename == str(tmp_path / "folder")
        assert os.listdir(tmp_path) == ["folder"]

    def test_two_that_save_at_once_leave_one_whole_file(self, tmp_path):
        path = tmp_path / "key.pem"
        keys = [KEY, OTHER] * 4
        threads = [threading.Thread(target=key.savePEM, args=(path,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert path.read_text() in (KEY.getPrivateKeyPEM(), OTHER.getPrivateKeyPEM())
        assert os.listdir(tmp_path) == ["key.pem"]


class TestLoadPublicKey:
    def test_a_key_object_is_itself(self):
        assert load_public_key(PUBLIC) is PUBLIC

    @pytest.mark.parametrize("convert", [str, str.encode])
    def test_pem_text(self, convert):
        assert load_public_key(convert(PUBLIC.getPublicKeyPEM())) == PUBLIC

    @pytest.mark.parametrize("convert", [str, Path])
    def test_the_path_of_a_pem_file(self, tmp_path, convert):
        path = tmp_path / "server.pub"
        PUBLIC.savePEM(path)
        assert load_public_key(convert(path)) == PUBLIC

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load_public_key(tmp_path / "nowhere.pub")

    def test_a_file_with_something_else_is_named(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_bytes(b"\xff\x00 no key")
        with pytest.raises(ValueError, match=r"notes\.txt.*P-256"):
            load_public_key(str(path))

    def test_the_file_of_the_private_key_is_refused(self, tmp_path):
        path = tmp_path / "server.key"
        KEY.savePEM(path)
        with pytest.raises(ValueError, match=r"server\.key.*is a private key"):
            load_public_key(path)

    @pytest.mark.parametrize("pem", ["-----BEGIN PUBLIC KEY-----\nAAAA\n", b"no key"])
    def test_text_that_is_no_key(self, pem):
        with pytest.raises(ValueError, match="P-256"):
            load_public_key(pem)

    @pytest.mark.parametrize("source", [None, 5, KEY, bytearray(b"-----BEGIN ")])
    def test_what_cannot_be_a_key(self, source):
        with pytest.raises(TypeError, match="EllipticCurvePublicKey, PEM text or a path"):
            load_public_key(source)
