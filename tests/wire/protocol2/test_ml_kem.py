"""ML-KEM-768: the golden key, malformed input, and releases of `cryptography` without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import asymmetric

from mpgameserver.errors import HandshakeError
from mpgameserver.wire.protocol2.ml_kem import DecapsulationKey, MlKem, find_ml_kem

VECTORS = json.loads(Path(__file__).parents[2].joinpath("protocol2.json").read_text())
GOLDEN = VECTORS["kem"]
MODULE = "cryptography.hazmat.primitives.asymmetric.mlkem"


@pytest.fixture
def kem() -> MlKem:
    found = find_ml_kem()
    if found is None:
        pytest.skip("this cryptography has no ML-KEM")
    return found


def test_the_golden_ciphertext(kem):
    from cryptography.hazmat.primitives.asymmetric import mlkem

    key = DecapsulationKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(GOLDEN["seed"])))
    assert key.encapsulation_key.hex() == GOLDEN["encapsulation_key"]
    assert key.decapsulate(bytes.fromhex(GOLDEN["ciphertext"])).hex() == GOLDEN["secret"]


def test_both_sides_get_one_secret(kem):
    key = kem.new_key()
    secret, ciphertext = kem.encapsulate(key.encapsulation_key)
    assert (len(key.encapsulation_key), len(ciphertext), len(secret)) == (1184, 1088, 32)
    assert key.decapsulate(ciphertext) == secret
    assert kem.new_key().decapsulate(ciphertext) != secret


@pytest.mark.parametrize("key", [b"", bytes(1183), bytes(1185), b"\xff" * 1184], ids=len)
def test_what_is_no_encapsulation_key(kem, key):
    """The last one has coefficients above the modulus."""
    with pytest.raises(HandshakeError):
        kem.encapsulate(key)


def test_the_second_codecs_bad_coefficient(kem):
    bad = [v for v in VECTORS["invalid"]["offers"] if "coefficient" in v["reason"]]
    assert bad
    for vector in bad:
        with pytest.raises(HandshakeError):
            kem.encapsulate(bytes.fromhex(vector["bytes"])[-1184:])


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_what_is_no_ciphertext(kem, size):
    with pytest.raises(HandshakeError, match=f"of {size} bytes"):
        kem.new_key().decapsulate(bytes(size))


class TestWithout:
    @pytest.fixture(autouse=True)
    def probed_anew(self):
        find_ml_kem.cache_clear()
        yield
        find_ml_kem.cache_clear()

    def test_a_cryptography_from_before_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, MODULE, None)
        monkeypatch.delattr(asymmetric, "mlkem", raising=False)
        assert find_ml_kem() is None

    def test_an_openssl_without_it(self, kem, monkeypatch):
        def unsupported() -> None:
            raise UnsupportedAlgorithm("no ML-KEM")

        module = sys.modules[MODULE]
        find_ml_kem.cache_clear()
        monkeypatch.setattr(
            module, "MLKEM768PrivateKey", type("Key", (), {"generate": unsupported})
        )
        assert find_ml_kem() is None


def test_it_is_not_looked_for_before_it_is_needed():
    code = (
        "import mpgameserver, sys; import mpgameserver.wire.protocol2.ml_kem;"
        f"assert {MODULE!r} not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=60)
