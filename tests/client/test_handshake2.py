"""The client's side of the handshake where it speaks protocol 2: hellos, RETRY, answers."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support import wire
from support.answering import answer as answer_in_version_1
from support.handshaking2 import (
    ML_KEM,
    OTHER_KEY,
    ROOT_KEY,
    WALL_START,
    SecondServer,
    Server,
)
from support.wire2 import handshake

from mpgameserver.client.handshake import (
    HELLO_INTERVAL,
    MAX_VERIFICATIONS,
    ClientHandshake,
    EstablishedSession,
)
from mpgameserver.client.handshake2 import ANSWER_PATIENCE, ClientHandshake2, VerifiedAnswer
from mpgameserver.wire.protocol2.hello import HelloForm
from mpgameserver.wire.protocol2.limits import PeerLimits

PATH, OTHER_PATH = "first port", "fresh port"
PAYLOAD, DATAGRAM = wire.sizes(1500).payload, 1472
ON_BOTH = pytest.mark.parametrize("form", [1, 2])


class Attempt:
    """An attempt of the package, and what it has sent."""

    def __init__(self, trusted, paths=(PATH,), payload=PAYLOAD, **options) -> None:
        self.handshake = ClientHandshake2(trusted, 0.0, WALL_START, **options)
        for path in paths:
            self.handshake.add_path(path, 0.0, payload, DATAGRAM)

    def send(self, now: float, path: str = PATH) -> list[bytes]:
        return [datagram for key, datagram in self.handshake.datagrams(now) if key == path]

    def forms(self, now: float) -> list[int]:
        return [form_of(datagram) for datagram in self.send(now)]

    def both(self) -> dict[int, bytes]:
        """Return the hello of each form, sent on one path."""
        self.send(0.0)
        return dict(zip((1, 2), self.send(HELLO_INTERVAL), strict=True))

    def receive(self, datagram: bytes, now: float = HELLO_INTERVAL, path: str = PATH):
        return self.handshake.receive(path, datagram, now)


def form_of(datagram: bytes) -> int:
    return 1 if datagram[:1] == b"F" else 2


def read(datagram: bytes) -> handshake.Hello:
    hello = handshake.at_server(datagram, "", 1500, worker=datagram[1])
    assert hello is not None
    return hello


@pytest.fixture
def server() -> SecondServer:
    return SecondServer()


@pytest.fixture
def attempt(server: SecondServer) -> Attempt:
    return Attempt(server.public_key)


class TestHello:
    def test_the_first_try_is_a_hello_of_version_1_with_an_offer(self, attempt):
        [datagram] = attempt.send(0.0)
        assert len(datagram) == 1438
        hello = read(datagram)
        offer = handshake.unpack_offer(hello.offer)
        assert (hello.cookie, offer.versions, offer.audience) == (b"", b"\2", "")

    def test_from_the_second_try_on_there_are_two(self, attempt):
        assert attempt.forms(0.0) == [1]
        assert attempt.forms(HELLO_INTERVAL / 2) == []
        assert attempt.handshake.next_timer() == HELLO_INTERVAL
        assert attempt.forms(0.25) == attempt.forms(0.5) == [1, 2]

    def test_both_have_one_key_and_one_offer(self, server):
        hellos = Attempt(server.public_key, audience="").both()
        first, second = read(hellos[1]), read(hellos[2])
        assert first.key == second.key
        assert first.offer == second.offer
        assert second.routing == 255

    def test_an_attempt_sends_the_same_offer_with_every_try(self, attempt):
        offers = {read(each).offer for now in (0.0, 0.25, 0.5) for each in attempt.send(now)}
        assert len(offers) == 1

    def test_every_attempt_has_a_key_and_random_bytes_of_its_own(self, server):
        hellos = [read(Attempt(server.public_key).send(0.0)[0]) for _ in range(2)]
        assert len({hello.key for hello in hellos}) == 2
        assert len({hello.offer[:32] for hello in hellos}) == 2

    def test_the_audience(self, server):
        hello = Attempt(server.public_key, audience="chess").both()[2]
        assert handshake.unpack_offer(handshake.unpack_hello2(hello).offer).audience == "chess"

        with pytest.raises(ValueError, match="not 41"):
            Attempt(server.public_key, audience="x" * 41)

    @pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
    def test_an_encapsulation_key_goes_into_the_first_form_where_it_fits(self, server):
        hellos = Attempt(server.public_key, ml_kem=ML_KEM).both()
        offers = {form: handshake.unpack_offer(read(each).offer) for form, each in hellos.items()}
        assert list(offers[1].extensions) == [handshake.ML_KEM]
        assert offers[2] == offers[1]._replace(extensions={})
        small = Attempt(server.public_key, payload=wire.sizes(1400).payload, ml_kem=ML_KEM)
        [datagram] = small.send(0.0)
        hello = handshake.unpack_hello1(datagram, 1400)
        assert handshake.unpack_offer(hello.offer).extensions == {}

    @pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
    def test_the_longest_audience_and_cookie_fit_beside_it(self, server):
        attempt = Attempt(server.public_key, audience="x" * 40, ml_kem=ML_KEM)
        [datagram] = attempt.send(0.0)
        hello = handshake.unpack_hello1(datagram, 1500)
        assert handshake.ML_KEM in handshake.unpack_offer(hello.offer).extensions
        retry = handshake.Retry(1, hello.offer[:8], 255, bytes(32))
        attempt.receive(handshake.pack_retry(retry), 0.0)
        [again] = attempt.send(0.0)
        assert handshake.unpack_hello1(again, 1500).cookie == bytes(32)

    def test_each_path_has_its_own(self, server):
        attempt = Attempt(server.public_key, paths=(PATH, OTHER_PATH))
        sent = attempt.handshake.datagrams(0.0)
        assert [path for path, _ in sent] == [PATH, OTHER_PATH]
        attempt.handshake.remove_path(PATH)
        assert {path for path, _ in attempt.handshake.datagrams(0.25)} == {OTHER_PATH}
        attempt.handshake.remove_path(OTHER_PATH)
        assert attempt.handshake.next_timer() == float("inf")


class TestRetry:
    @ON_BOTH
    def test_the_hello_of_that_form_is_sent_again_with_the_cookie(self, server, attempt, form):
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[form], b"a cookie"))
        assert attempt.handshake.drop_reason is None
        assert attempt.handshake.next_timer() < HELLO_INTERVAL
        [again] = attempt.send(HELLO_INTERVAL)
        assert read(again)._replace(cookie=b"", routing=255) == read(hellos[form])
        assert read(again).cookie == b"a cookie"

    def test_from_then_on_each_try_has_the_cookie_of_its_form(self, server, attempt):
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[2], b"two"))
        attempt.send(HELLO_INTERVAL)
        assert [read(each).cookie for each in attempt.send(0.5)] == [b"", b"two"]

    def test_it_is_for_the_path_on_which_it_came(self, server):
        attempt = Attempt(server.public_key, paths=(PATH, OTHER_PATH))
        [hello] = attempt.send(0.0)
        attempt.receive(server.retry(hello), path=OTHER_PATH)
        [(path, again)] = attempt.handshake.datagrams(0.0)
        assert (path, read(again).cookie) == (OTHER_PATH, b"cookie")
        attempt.handshake.receive("no path", server.retry(hello), 0.0)
        assert attempt.handshake.drop_reason == "no session"

    def test_one_is_obeyed_for_each_sending_by_the_timer(self, server, attempt):
        [hello] = attempt.send(0.0)
        for number in range(10):
            attempt.receive(server.retry(hello, b"%d" % number), 0.0)
            assert attempt.handshake.drop_reason == ("repeated" if number else None)
        assert [read(each).cookie for each in attempt.send(0.0)] == [b"0"]
        attempt.receive(server.retry(hello, b"late"), 0.1)
        assert attempt.send(0.1) == []
        attempt.send(0.25)
        attempt.receive(server.retry(hello, b"next"), 0.25)
        assert [read(each).cookie for each in attempt.send(0.25)] == [b"next"]

    def test_one_of_several_is_used_for_the_next_try(self, server, seed):
        """Each as likely as the others, however much quicker than the server somebody is."""
        used = Counter()
        for number in range(200):
            attempt = Attempt(server.public_key, rng=random.Random(f"{seed} {number}"))
            [hello] = attempt.send(0.0)
            for cookie in (b"forged", b"forged too", b"honest", b"late"):
                attempt.receive(server.retry(hello, cookie), 0.0)
            assert [read(each).cookie for each in attempt.send(0.1)] == [b"forged"]
            used[read(attempt.send(0.25)[0]).cookie] += 1
        assert 20 < used[b"honest"] < 80

    def test_one_for_another_hello_is_dropped(self, server, attempt):
        [hello] = attempt.send(0.0)
        forged = handshake.Retry(1, bytes(8), 255, b"cookie")
        attempt.receive(handshake.pack_retry(forged), 0.0)
        assert attempt.handshake.drop_reason == "malformed hello"
        unsent = handshake.Retry(2, read(hello).offer[:8], 255, b"cookie")
        attempt.receive(handshake.pack_retry(unsent), 0.0)
        assert attempt.handshake.drop_reason == "malformed hello"
        assert attempt.send(0.0) == []

    @ON_BOTH
    def test_one_that_names_a_worker_is_obeyed_with_client_hello2(self, server, attempt, form):
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[form], b"cookie", routing=5))
        [again] = attempt.send(HELLO_INTERVAL)
        hello = handshake.unpack_hello2(again)
        assert (hello.routing, hello.cookie) == (5, b"cookie")

    def test_a_hello_that_only_a_retry_has_sent_obeys_none(self, server, attempt):
        [hello] = attempt.send(0.0)
        attempt.receive(server.retry(hello, routing=0), 0.0)
        [again] = attempt.send(0.0)
        attempt.receive(server.retry(again, b"another"), 0.0)
        assert attempt.handshake.drop_reason == "repeated"
        assert attempt.send(0.0) == []

    def test_every_second_try_is_for_that_worker_alone(self, server, attempt):
        """Whoever sees a hello can name a worker that there is not."""
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[1], routing=5))
        attempt.send(HELLO_INTERVAL)
        tries = [[(each[0], each[1]) for each in attempt.send(0.5 + n / 4)] for n in range(4)]
        assert tries == [[(70, 83), (4, 255)], [(4, 5)], [(70, 83), (4, 255)], [(4, 5)]]

    def test_the_last_named_worker_counts(self, server, attempt):
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[1], routing=5))
        attempt.receive(server.retry(hellos[2], routing=255))
        attempt.send(HELLO_INTERVAL)
        assert [attempt.forms(0.5 + n / 4) for n in range(3)] == [[1, 2]] * 3

    def test_forged_ones_never_end_an_attempt(self, server, attempt):
        """On every try a forged one comes first, for a worker that there is not."""
        answers = []
        for number in range(8):
            for hello in attempt.send(number / 4):
                attempt.receive(server.retry(hello, b"forged", routing=77), number / 4)
                if hello[1] in (255, ord("S")):
                    answers.append(form_of(hello))
            attempt.send(number / 4)
        assert answers.count(1) >= 4
        assert answers.count(2) >= 3


class TestAnswer:
    @ON_BOTH
    def test_of_the_second_codec_yields_its_secrets(self, server, attempt, form):
        hello = attempt.both()[form]
        reply, (client_secret, server_secret) = server.answer(
            hello, connection_id=b"\x52abcdefg", extensions={2: b"\0\0\x10\0", 3: b"\x05\x10"}
        )
        found = attempt.receive(reply)
        assert isinstance(found, VerifiedAnswer)
        assert found.secrets.client.secret == client_secret
        assert found.secrets.server.secret == server_secret
        assert (found.path, found.form) == (PATH, HelloForm(form))
        assert found.connection_id == b"\x52abcdefg"
        assert found.limits == PeerLimits(4096, 1296)
        assert found.key_to_send is None

    @ON_BOTH
    def test_after_a_retry_the_transcript_is_the_same(self, server, attempt, form):
        hellos = attempt.both()
        attempt.receive(server.retry(hellos[form]))
        [again] = attempt.send(HELLO_INTERVAL)
        reply, _ = server.answer(again)
        assert attempt.receive(reply) is not None

    def test_a_key_may_be_sent_later_if_the_server_takes_one(self):
        if ML_KEM is None:
            pytest.skip("this cryptography has no ML-KEM")
        server = SecondServer(has_kem=True)
        for form, is_late in ((1, False), (2, True)):
            attempt = Attempt(server.public_key, ml_kem=ML_KEM)
            reply, (client_secret, _) = server.answer(attempt.both()[form])
            found = attempt.receive(reply)
            assert found.secrets.client.secret == client_secret
            assert found.is_hybrid == (form == 1)
            assert (found.key_to_send is not None) == is_late

    def test_a_client_without_ml_kem_sends_none(self):
        if ML_KEM is None:
            pytest.skip("this cryptography has no ML-KEM")
        server = SecondServer(has_kem=True)
        attempt = Attempt(server.public_key)
        found = attempt.receive(server.answer(attempt.both()[1])[0])
        assert found.key_to_send is None

    @pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
    def test_a_client_that_requires_ml_kem_takes_no_other(self):
        server, without = SecondServer(has_kem=True), SecondServer()
        without.root = server.root
        attempt = Attempt(server.public_key, ml_kem=ML_KEM, require_hybrid=True)
        hello = attempt.both()[1]
        for _ in range(2):
            assert attempt.receive(without.answer(hello)[0]) is None
            assert attempt.handshake.drop_reason == "not hybrid"
        assert attempt.handshake.saw_no_hybrid
        assert attempt.receive(server.answer(hello)[0]).is_hybrid

    def test_hellos_wait_while_its_session_is_tried(self, server, attempt):
        attempt.receive(server.answer(attempt.both()[1])[0])
        assert attempt.send(0.5) == []
        assert attempt.handshake.next_timer() == HELLO_INTERVAL + ANSWER_PATIENCE
        assert attempt.forms(HELLO_INTERVAL + ANSWER_PATIENCE) == [1, 2]

    @pytest.mark.parametrize(("took", "patience"), [(0.5, 1.0), (1.0, 1.5), (2.0, 3.0), (4.0, 3.0)])
    def test_a_slow_path_has_more_time(self, server, attempt, took, patience):
        reply, _ = server.answer(attempt.both()[1])
        assert attempt.receive(reply, took)
        assert attempt.send(took + patience - 0.01) == []
        assert attempt.forms(took + patience) == [1, 2]

    def test_another_is_taken_only_after_a_second(self, server, attempt):
        hellos = attempt.both()
        first, second = server.answer(hellos[1])[0], server.answer(hellos[2])[0]
        assert attempt.receive(first)
        later = HELLO_INTERVAL + ANSWER_PATIENCE
        for reply in (first, second, server.retry(hellos[1])):
            assert attempt.receive(reply, later - 0.01) is None
            assert attempt.handshake.drop_reason == "repeated"
        assert attempt.receive(first, later) is None, "its session had its time"
        assert attempt.receive(second, later).form == 2


class TestForged:
    def test_by_another_key(self, server, attempt):
        hello = attempt.both()[1]
        other = ec.generate_private_key(ec.SECP256R1())
        assert attempt.receive(server.answer(hello, root=other)[0]) is None
        assert attempt.handshake.drop_reason == "wrong key"
        assert attempt.handshake.saw_wrong_key
        assert attempt.receive(server.answer(hello)[0])

    def test_another_key_in_its_name(self, server, attempt):
        other = ec.generate_private_key(ec.SECP256R1())
        reply, _ = server.answer(attempt.both()[1], root=other, root_key=server.point)
        assert attempt.receive(reply) is None
        assert attempt.handshake.drop_reason == "malformed hello"
        assert not attempt.handshake.saw_wrong_key

    def test_without_a_pinned_key_any_will_do(self, server):
        attempt = Attempt(None)
        assert attempt.receive(server.answer(attempt.both()[1])[0])

    @pytest.mark.parametrize(
        "fields",
        [
            {"version": 3},
            {"ephemeral_key": b"\4" + bytes(63) + b"\1"},
            {"connection_id": b"\x53abcdefg"},
            {"extensions": {1: bytes(1088)}},
            {"extensions": {2: bytes(4)}},
        ],
        ids=["version", "off the curve", "worker", "a ciphertext not asked for", "limits"],
    )
    @ON_BOTH
    def test_what_no_honest_server_signs(self, server, attempt, form, fields):
        assert attempt.receive(server.answer(attempt.both()[form], **fields)[0]) is None
        assert attempt.handshake.drop_reason == "malformed hello"

    @ON_BOTH
    def test_replayed_from_another_attempt(self, server, form):
        reply, _ = server.answer(Attempt(server.public_key).both()[form])
        attempt = Attempt(server.public_key)
        attempt.both()
        assert attempt.receive(reply) is None

    def test_with_the_random_of_this_one(self, server, attempt):
        """As somebody sends it who has seen the hello."""
        hello = attempt.both()[1]
        reply, _ = server.answer(Attempt(server.public_key).both()[1])
        assert attempt.receive(reply[:4] + read(hello).offer[:8] + reply[12:]) is None
        assert attempt.handshake.drop_reason == "malformed hello"

    def test_of_the_form_that_was_not_answered(self, server, attempt):
        reply, _ = server.answer(attempt.both()[1])
        assert attempt.receive(reply[:3] + b"\2" + reply[4:]) is None

    def test_a_form_that_was_not_sent(self, server, attempt):
        [hello] = attempt.send(0.0)
        unsent = handshake.pack_hello2(read(hello)._replace(form=2))
        assert attempt.receive(server.answer(unsent)[0], 0.0) is None

    def test_a_flood_costs_a_bounded_number_of_verifications(self, server, attempt):
        hello = attempt.both()[1]
        other = SecondServer()
        forged = [other.answer(hello, root_key=server.point)[0] for _ in range(MAX_VERIFICATIONS)]
        honest, _ = server.answer(hello)
        for reply in forged:
            attempt.receive(reply)
        assert attempt.receive(honest) is None
        assert attempt.handshake.drop_reason == "busy"
        attempt.send(HELLO_INTERVAL)
        assert attempt.receive(honest)

    def test_any_bytes(self, server, attempt):
        hello = attempt.both()[1]
        reply, retry = server.answer(hello)[0], server.retry(hello)
        for datagram in (reply, retry):
            for size in range(len(datagram)):
                assert attempt.receive(datagram[:size]) is None
                assert attempt.handshake.drop_reason
        assert attempt.receive(b"\4\xff\4" + bytes(16)) is None
        assert attempt.receive(os.urandom(40)) is None


class TestVersion1:
    def test_a_server_without_version_2_is_reached(self):
        attempt = Attempt(ROOT_KEY.getPublicKey())
        [hello] = attempt.send(0.0)
        server = answer_in_version_1(hello, ROOT_KEY)
        attempt.receive(server.datagram, 0.1)
        [response] = attempt.send(0.1)
        assert response[:1] == b"F"
        server.endpoint.receive(response, 0.1)
        server.endpoint.established = True
        established = attempt.receive(server.endpoint.next_datagram(0.2), 0.2)
        assert isinstance(established, EstablishedSession)
        assert not attempt.handshake.was_downgraded

    def test_its_answer_does_not_end_the_wait_for_one_in_version_2(self):
        server = SecondServer()
        attempt = Attempt(server.public_key)
        [hello] = attempt.send(0.0)
        attempt.receive(version_1(server), 0.0)
        assert attempt.handshake.drop_reason is None
        assert attempt.receive(server.answer(hello)[0], 0.0)

    def test_a_marked_answer_is_a_downgrade_and_no_session(self):
        attempt = Attempt(ROOT_KEY.getPublicKey())
        [hello] = attempt.send(0.0)
        attempt.receive(Server().answer_in_version_1(), 0.0)
        assert attempt.handshake.drop_reason == "downgraded"
        assert attempt.handshake.was_downgraded
        assert attempt.send(0.1) == [], "no CHALLENGE_RESP"
        attempt.receive(Server().answer_in_version_1(), 0.1)
        assert attempt.handshake.drop_reason == "downgraded"
        assert attempt.receive(Server().answer(hello), 0.1), "the attempt goes on"

    def test_a_mark_that_is_not_signed_says_nothing(self):
        attempt = Attempt(ROOT_KEY.getPublicKey())
        attempt.send(0.0)
        for _ in range(2 * MAX_VERIFICATIONS):
            attempt.receive(Server().answer_in_version_1(key=OTHER_KEY), 0.0)
        assert not attempt.handshake.was_downgraded
        assert attempt.handshake.saw_wrong_key
        assert attempt.handshake.drop_reason == "busy"

    def test_a_client_that_wants_version_2_only_drops_it(self):
        server = SecondServer()
        attempt = Attempt(server.public_key, only_version_2=True)
        attempt.send(0.0)
        attempt.receive(version_1(server), 0.0)
        assert attempt.handshake.drop_reason == "version 1"
        assert attempt.send(0.1) == []

    def test_such_a_client_can_say_that_the_server_is_too_old(self):
        server = SecondServer()
        attempt = Attempt(server.public_key, only_version_2=True)
        [hello] = attempt.send(0.0)
        for _ in range(2):
            attempt.receive(version_1(server), 0.0)
            assert attempt.handshake.drop_reason == "version 1"
        assert attempt.handshake.saw_version_1
        assert attempt.receive(b"F" * 100, 0.0) is None
        assert attempt.handshake.drop_reason == "version 1"
        assert attempt.receive(server.answer(hello)[0], 0.0), "the attempt goes on"

    def test_an_answer_that_the_server_has_not_signed_says_nothing(self):
        attempt = Attempt(ROOT_KEY.getPublicKey(), only_version_2=True)
        attempt.send(0.0)
        for _ in range(2 * MAX_VERIFICATIONS):
            assert attempt.receive(version_1(SecondServer()), 0.0) is None
        assert not attempt.handshake.saw_version_1
        assert attempt.handshake.saw_wrong_key
        assert attempt.handshake.drop_reason == "busy"
        assert attempt.send(0.1) == []

    def test_an_attempt_that_ends_disconnects_what_there_may_be(self):
        attempt = Attempt(ROOT_KEY.getPublicKey())
        [hello] = attempt.send(0.0)
        attempt.receive(answer_in_version_1(hello, ROOT_KEY).datagram, 0.1)
        attempt.send(0.1)
        assert attempt.handshake.abort(0.2)

    def test_a_hello_without_an_offer_is_as_it_was(self):
        plain = ClientHandshake(None, 0.0, WALL_START)
        plain.add_path(PATH, 0.0, PAYLOAD, DATAGRAM)
        [(_, datagram)] = plain.datagrams(0.0)
        assert handshake.unpack_hello1(datagram, 1500) is None


def version_1(server: SecondServer) -> bytes:
    """An answer in version 1 of a server that has no other."""
    session_key = der_of(ec.generate_private_key(ec.SECP256R1()))
    message = wire.pack_server_hello(server.root, session_key, bytes(16), 1 << 30)
    header = wire.Header(wire.TO_CLIENT, WALL_START, 1, 0, wire.SERVER_HELLO, 0, 0, 0)
    return wire.pack_clear(header, wire.Message(1, wire.SERVER_HELLO, message))


def der_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return wire.key_der(private.public_key())
