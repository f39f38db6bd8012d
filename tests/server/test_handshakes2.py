"""The server's side of protocol 2's handshake: what it answers, what it keeps, what that costs."""

from __future__ import annotations

import random
import zlib

import pytest
from support.damage import mutated, prefixes
from support.handshaking2 import (
    ADDRESS,
    ML_KEM,
    OTHER_ADDRESS,
    ROOT_POINT,
    SecondClient,
    Server,
    addresses,
    sealed,
)
from support.wire2 import handshake

from mpgameserver.server.blocklist import BlockList
from mpgameserver.server.cookies import cookie_address
from mpgameserver.server.half_open2 import MAX_PER_ADDRESS_WITHOUT_COOKIE
from mpgameserver.server.handshakes2 import HALF_OPEN_TIMEOUT, WaitingHello2
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import host_of
from mpgameserver.wire.protocol2.hello import HelloForm
from mpgameserver.wire.protocol2.limits import PeerLimits

SEED = bytes(range(64))
ON_BOTH = pytest.mark.parametrize("form", [1, 2])
NOT_ON_CURVE = b"\4" + bytes(63) + b"\1"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client() -> SecondClient:
    return SecondClient()


def loaded(now: float = 0.0, **options) -> Server:
    """A server under load, which lasts for a second, with nothing else to do."""
    server = Server(Limits(handshake_rate=100.0), **options)
    flood(server, 100, now)
    server.handshakes.clear()
    return server


def flood(server: Server, count: int, now: float) -> None:
    """Send hellos with keys and addresses of their own."""
    datagram = bytearray(SecondClient().datagram())
    for _, address in zip(range(count), addresses(), strict=False):
        datagram[4:12] = address[1].to_bytes(8, "big")
        server.receive(bytes(datagram), now, address)


def is_retry(datagram: bytes | None) -> bool:
    return datagram is not None and datagram[2] == handshake.RETRY


class TestAnswer:
    @ON_BOTH
    def test_the_second_codec_verifies_it_and_has_the_same_secrets(self, server, client, form):
        reply = client.read(server.answer(client.datagram(form)))
        half_open = server.handshakes.half_open.with_id(reply.parts.connection_id)
        secrets = half_open.secrets.client.secret, half_open.secrets.server.secret
        assert client.secrets(reply) == secrets
        assert reply.hello.form == form
        assert half_open.address == ADDRESS
        assert not half_open.has_cookie

    @ON_BOTH
    def test_it_is_made_in_a_step_of_its_own(self, server, client, form):
        assert server.receive(client.datagram(form), 0.0) is None
        assert server.handshakes.has_work
        assert server.handshakes.next_work() <= 0.0
        assert (server.handshakes.public_key_work, len(server.handshakes.half_open)) == (0, 0)
        [(address, _)] = server.work(0.0)
        assert address == ADDRESS
        assert (server.handshakes.public_key_work, len(server.handshakes.half_open)) == (1, 1)
        assert not server.handshakes.has_work
        assert server.handshakes.next_work() == float("inf")

    def test_it_names_the_limits_and_the_worker(self, client):
        server = Server(worker=7, own_limits=PeerLimits(9000, 1452))
        reply = client.read(server.answer(client.datagram(routing=7)))
        assert reply.parts.connection_id[0] == 7
        extensions = reply.parts.extensions
        assert extensions[handshake.IDLE_TIMEOUT] == (9000).to_bytes(4, "big")
        assert extensions[handshake.LARGEST_DATAGRAM] == (1452).to_bytes(2, "big")

    def test_no_two_sessions_share_a_connection_id(self, client):
        """Not even if the random bytes come again: as many drawn ids are taken."""
        draws = iter([*[bytes(32), b"a" * 7] * 2, b"b" * 7, bytes(32), b"a" * 7, b"c" * 7])
        server = Server(random_bytes=lambda size: next(draws))
        ids = []
        for address, each in ((ADDRESS, client), (OTHER_ADDRESS, SecondClient())):
            reply = each.read(server.answer(each.datagram(), address=address))
            ids.append(reply.parts.connection_id)
        first = server.handshakes.half_open.with_id(ids[0])
        server.receive(sealed(first.secrets.client.secret, ids[0]), 0.0)
        third = SecondClient()
        ids.append(third.read(server.answer(third.datagram())).parts.connection_id)
        assert ids == [b"\0" + letter * 7 for letter in (b"a", b"b", b"c")]

    def test_rate(self, client):
        server = Server(Limits(handshake_rate=20.0))
        for address, _ in zip(addresses(), range(3), strict=False):
            server.handshakes._queue(waiting_hello(server, address))
        assert len(server.work(0.0)) == 1
        assert server.work(0.04) == []
        assert server.handshakes.next_work() == pytest.approx(0.05)
        assert len(server.work(0.05)) == 1

    def test_each_worker_has_a_routing_byte(self):
        for worker in (-1, 83, 255):
            with pytest.raises(ValueError, match=str(worker)):
                Server(worker=worker)


def waiting_hello(server: Server, address):
    hello = server.read(SecondClient().datagram())
    return WaitingHello2(hello, address, host_of(address), True)


class TestMlKem:
    needs_ml_kem = pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")

    @needs_ml_kem
    def test_a_key_in_the_hello_is_answered_with_a_ciphertext(self):
        server, client = Server(ml_kem=ML_KEM), SecondClient(kem_seed=SEED)
        datagram = client.datagram(1)
        answer = server.answer(datagram)
        assert len(answer) <= len(datagram), "the ciphertext is shorter than the key"
        reply = client.read(answer)
        assert len(reply.parts.extensions[handshake.ML_KEM]) == handshake.CIPHERTEXT_SIZE
        half_open = server.handshakes.half_open.with_id(reply.parts.connection_id)
        assert client.secrets(reply)[0] == half_open.secrets.client.secret
        assert not half_open.awaits_key

    @needs_ml_kem
    @ON_BOTH
    def test_without_one_the_server_says_that_it_takes_one_later(self, form):
        server, client = Server(ml_kem=ML_KEM), SecondClient()
        reply = client.read(server.answer(client.datagram(form)))
        assert reply.parts.extensions == {handshake.ML_KEM: b""}
        assert server.handshakes.half_open.with_id(reply.parts.connection_id).awaits_key

    @needs_ml_kem
    def test_a_server_without_it_ignores_the_key(self, server):
        client = SecondClient(kem_seed=SEED)
        reply = client.read(server.answer(client.datagram(1)))
        assert reply.parts.extensions == {}
        half_open = server.handshakes.half_open.with_id(reply.parts.connection_id)
        assert client.secrets(reply)[0] == half_open.secrets.client.secret
        assert not half_open.awaits_key

    @needs_ml_kem
    def test_a_key_that_fails_the_check_is_dropped(self, client):
        server = Server(ml_kem=ML_KEM)
        offer = handshake.Offer(bytes(32), b"\2", "", {handshake.ML_KEM: b"\xff" * 1184})
        hello = client.hellos[1]._replace(offer=handshake.pack_offer(offer))
        assert server.answer(client.pack(hello)) is None
        assert server.dropped == {"malformed hello": 1}
        assert len(server.handshakes.half_open) == 0


class TestTheSameHelloAgain:
    @ON_BOTH
    def test_it_gets_the_same_bytes_without_public_key_work(self, server, client, form):
        datagram = client.datagram(form)
        answers = {server.answer(datagram, now) for now in (0.0, 0.25, 4.9)}
        assert len(answers) == 1
        assert (server.handshakes.public_key_work, server.handshakes.answered_again) == (1, 2)
        assert len(server.handshakes.half_open) == 1

    def test_whatever_cookie_it_has_and_wherever_it_comes_from(self, server, client):
        first = server.answer(client.datagram())
        assert server.answer(client.datagram(cookie=b"x"), address=OTHER_ADDRESS) == first
        [half_open] = server.handshakes.half_open.all()
        assert half_open.address == ADDRESS, "that to which the answer was first sent"
        assert not half_open.has_cookie

    def test_under_load_too(self, client):
        server = Server(Limits(handshake_rate=100.0))
        first = server.answer(client.datagram())
        flood(server, 200, 0.0)
        assert is_retry(server.receive(SecondClient().datagram(), 0.0))
        assert server.receive(client.datagram(), 0.0) == first

    def test_while_it_waits_it_is_queued_once(self, server, client):
        for _ in range(5):
            assert server.receive(client.datagram(), 0.0) is None
        assert len(server.work(0.0)) == 1
        assert server.handshakes.public_key_work == 1

    def test_with_a_cookie_its_session_has_one(self, server, client):
        server.answer(client.datagram())
        cookie = client.cookie(loaded().receive(client.datagram(), 0.0))
        server.answer(client.datagram(cookie=cookie))
        [half_open] = server.handshakes.half_open.all()
        assert half_open.has_cookie

    def test_with_a_cookie_for_another_address_it_has_none(self, server, client):
        server.answer(client.datagram())
        cookie = client.cookie(loaded().receive(client.datagram(), 0.0, OTHER_ADDRESS))
        server.answer(client.datagram(cookie=cookie), address=OTHER_ADDRESS)
        [half_open] = server.handshakes.half_open.all()
        assert not half_open.has_cookie

    def test_after_its_time_it_makes_another_session(self, server, client):
        first = server.answer(client.datagram(), 0.0)
        again = server.answer(client.datagram(), HALF_OPEN_TIMEOUT + 0.01)
        assert again != first
        assert len(server.handshakes.half_open) == 1

    def test_each_form_has_an_answer_of_its_own(self, server, client):
        answers = [client.read(server.answer(client.datagram(form))).parts for form in (1, 2)]
        for field in ("connection_id", "ephemeral_key", "random"):
            assert len({getattr(answer, field) for answer in answers}) == 2


class TestPromotion:
    def opened(self, server: Server, client: SecondClient) -> bytes:
        """Answer both forms, and open a packet of the second's session."""
        replies = [client.read(server.answer(client.datagram(form))) for form in (1, 2)]
        connection_id = replies[1].parts.connection_id
        answer = server.receive(sealed(client.secrets(replies[1])[0], connection_id), 0.0)
        assert answer == sealed(client.secrets(replies[1])[1], connection_id)
        return connection_id

    def test_the_other_half_open_sessions_of_the_client_go(self, server, client):
        other = SecondClient()
        server.answer(other.datagram())
        connection_id = self.opened(server, client)
        assert [each.client_point for each in server.handshakes.half_open.all()] == [other.point]
        assert [each.connection_id for each in server.open.sessions] == [connection_id]

    @ON_BOTH
    def test_its_hello_is_dropped_from_then_on(self, server, client, form):
        self.opened(server, client)
        assert server.answer(client.datagram(form)) is None
        assert server.dropped == {"stale hello": 1}

    def test_so_is_one_that_waits(self, server, client):
        replies = client.read(server.answer(client.datagram(2)))
        assert server.receive(client.datagram(1), 0.0) is None
        connection_id = replies.parts.connection_id
        server.receive(sealed(client.secrets(replies)[0], connection_id), 0.0)
        assert server.work(0.0) == []
        assert server.dropped == {"stale hello": 1}


class TestDropped:
    def test_another_audience(self, client):
        server = Server(audience="chess")
        for each in (client, SecondClient("Chess"), SecondClient("chess ")):
            assert server.answer(each.datagram()) is None
        assert server.dropped == {"other audience": 3}
        named = SecondClient("chess")
        assert named.read(server.answer(named.datagram()))
        assert Server().answer(named.datagram()) is None

    def test_a_name_that_no_offer_holds_is_refused_at_once(self):
        assert Server(audience="é" * 20)
        with pytest.raises(ValueError, match="not 41"):
            Server(audience="é" * 20 + "x")

    def test_another_worker(self, server, client):
        for routing in (1, 82, 84, 254):
            assert server.answer(client.datagram(routing=routing)) is None
        assert server.dropped == {"other worker": 4}
        assert server.answer(client.datagram(routing=0))

    @ON_BOTH
    def test_a_key_that_is_not_on_the_curve(self, server, client, form):
        datagram = client.datagram(form).replace(client.point, NOT_ON_CURVE)
        if form == 1:
            datagram = datagram[:-4] + zlib.crc32(datagram[:-4]).to_bytes(4, "big")
        assert server.answer(datagram) is None
        assert server.dropped == {"malformed hello": 1}
        assert len(server.handshakes.half_open) == 0

    def test_a_hello_that_is_not_1200_bytes_long(self, server, client):
        for datagram in (client.datagram()[:-1], client.datagram() + b"\0", b"\4", b"\4\xff\1"):
            assert server.answer(datagram) is None
        assert server.dropped == {"malformed hello": 4}

    @pytest.mark.parametrize("versions", [b"", b"\1", b"\1\3"], ids=repr)
    def test_an_offer_of_other_versions_is_answered_in_version_1(self, server, versions):
        other = SecondClient(versions=versions)
        assert server.read(other.datagram(1)) is None
        assert server.answer(other.datagram(2)) is None, "which CLIENT_HELLO2 cannot be"
        assert server.dropped == {"malformed hello": 1}

    def test_a_host_that_has_its_share_of_the_queue(self, client):
        server = Server(Limits(waiting_hellos_per_host=2, handshake_rate=1000.0))
        for _ in range(4):
            server.receive(SecondClient().datagram(), 0.0)
        assert server.dropped == {"busy": 2}

    def test_blocked_hosts_lose_their_handshakes(self, server, client):
        server.answer(client.datagram())
        other = SecondClient()
        server.answer(other.datagram(), address=OTHER_ADDRESS)
        server.handshakes.block(BlockList([ADDRESS[0]]))
        assert [each.address for each in server.handshakes.half_open.all()] == [OTHER_ADDRESS]
        server.receive(SecondClient().datagram(), 0.0)
        server.handshakes.clear()
        assert len(server.handshakes.half_open) == 0
        assert not server.handshakes.has_work


class TestRetry:
    @ON_BOTH
    def test_under_load_a_cookie_is_asked_for(self, client, form):
        server = loaded()
        retry = server.receive(client.datagram(form), 0.0)
        assert is_retry(retry)
        assert server.receive(client.datagram(form, client.cookie(retry)), 0.0) is None
        [(_, answer)] = server.work(0.0)
        assert client.read(answer).hello.form == form
        assert server.handshakes.public_key_work == 1
        assert server.handshakes.half_open.get(client.hellos[form].transcript).has_cookie

    @pytest.mark.parametrize(
        ("now", "address", "key"),
        [
            (25.0, ADDRESS, "same"),
            (0.0, OTHER_ADDRESS, "same"),
            (0.0, (ADDRESS[0], ADDRESS[1] + 1), "same"),
            (0.0, ADDRESS, "another"),
        ],
        ids=["old", "another host", "another port", "another key"],
    )
    def test_a_wrong_cookie_is_as_good_as_none(self, client, now, address, key):
        cookie = client.cookie(loaded().receive(client.datagram(), 0.0))
        sender = client if key == "same" else SecondClient()
        assert is_retry(loaded(now).receive(sender.datagram(cookie=cookie), now, address))
        assert Server().receive(sender.datagram(cookie=cookie), now, address) is None

    def test_all_workers_of_a_port_accept_each_others(self, client):
        cookie = client.cookie(loaded().receive(client.datagram(), 0.0))
        assert loaded(worker=3).receive(client.datagram(cookie=cookie), 0.0) is None
        assert is_retry(loaded(secret=b"another").receive(client.datagram(cookie=cookie), 0.0))

    def test_an_address_with_a_few_half_open_sessions_is_asked_without_load(self, server):
        clients = [SecondClient() for _ in range(MAX_PER_ADDRESS_WITHOUT_COOKIE + 1)]
        replies = [server.answer(each.datagram()) for each in clients]
        assert [is_retry(reply) for reply in replies] == [False] * 8 + [True]
        assert not is_retry(server.answer(clients[-1].datagram(), address=OTHER_ADDRESS))
        cookie = clients[-1].cookie(replies[-1])
        other = server.answer(clients[-1].datagram(1, cookie))
        assert clients[-1].read(other).hello.form == 1

    def test_so_is_one_whose_hellos_waited_at_the_same_time(self, server):
        for _ in range(MAX_PER_ADDRESS_WITHOUT_COOKIE + 2):
            assert server.receive(SecondClient().datagram(), 0.0) is None
        replies = [reply for _, reply in server.work(0.0)]
        assert [is_retry(reply) for reply in replies] == [False] * 8 + [True] * 2

    def test_a_hello_that_waited_when_load_began_is_asked_too(self, client):
        server = Server(Limits(handshake_rate=100.0))
        server.receive(client.datagram(), 0.0)
        flood(server, 50, 0.0)
        replies = [reply for address, reply in server.work(0.0) if address == ADDRESS]
        assert [is_retry(reply) for reply in replies] == [True]
        assert server.handshakes.public_key_work == 0

    @pytest.mark.parametrize(
        "limits",
        [Limits(handshake_rate=100.0), Limits(waiting_hellos=5)],
        ids=["a burst waits", "the queue is full"],
    )
    def test_where_hellos_with_cookies_wait_one_without_is_asked(self, client, limits):
        server = Server(limits)
        waiting = [waiting_hello(server, (ADDRESS[0], port)) for port in range(5)]
        for each in waiting:
            server.handshakes._queue(each)
        assert is_retry(server.receive(client.datagram(), 0.0, OTHER_ADDRESS))
        assert [server.handshakes.take_hello(0.0) for _ in waiting] == waiting


class TestFlood:
    """No state and no public-key work for an address that has shown no cookie, under load."""

    RATE = 200.0
    BURST = RATE * 0.05

    @pytest.mark.parametrize("hellos_per_second", [400, 2000])
    def test_of_spoofed_hellos(self, hellos_per_second, seed):
        server, spoofed = Server(Limits(handshake_rate=self.RATE)), self.spoofed(seed)
        handshakes = server.handshakes
        before_load = self.BURST * hellos_per_second / (hellos_per_second - self.RATE)
        for number in range(2 * hellos_per_second):
            now = number / hellos_per_second
            datagram, address = next(spoofed)
            reply = server.receive(datagram, now, address)
            server.work(now)
            if number > before_load:
                assert is_retry(reply)
                assert not handshakes.has_work
        assert 0 < handshakes.public_key_work <= before_load + 1
        assert len(handshakes.half_open) == handshakes.public_key_work
        handshakes.expire(now + HALF_OPEN_TIMEOUT)
        assert len(handshakes.half_open) == 0

    def spoofed(self, seed: int):
        """Hellos without a cookie and with a wrong one, each with a random of its own."""
        rng, client = random.Random(seed), SecondClient()
        for address in addresses():
            cookie = rng.choice([b"", rng.randbytes(17)])
            datagram = bytearray(client.datagram(cookie=cookie))
            start_of_random = 71 + len(cookie)
            datagram[start_of_random : start_of_random + 8] = rng.randbytes(8)
            yield bytes(datagram), address

    def test_an_honest_client_gets_through_with_its_cookie(self, client):
        server = loaded()
        for number in range(50):
            now = number / 1000
            flood(server, 2, now)
            server.work(now)
        cookie = client.cookie(server.receive(client.datagram(1), now))
        server.receive(client.datagram(1, cookie), now)
        answers = [reply for address, reply in server.work(now + 0.02) if address == ADDRESS]
        assert client.read(answers[0]).hello.form == 1

    def test_of_one_hosts_hellos_with_cookies(self):
        """A host that receives at its address has its share, and no more."""
        limits = Limits(handshake_rate=1e6, half_open_per_host=20)
        server, client = Server(limits), SecondClient()
        server.answer(client.datagram(), address=OTHER_ADDRESS)
        cookies = server.handshakes._cookies
        for port in range(1, 101):
            flooder = SecondClient()
            place = cookie_address(host_of(ADDRESS), port)
            cookie = cookies.make(place, flooder.point, 0.0)
            server.answer(flooder.datagram(cookie=cookie), address=(ADDRESS[0], port))
        held = server.handshakes.half_open.all()
        assert sum(each.address[0] == ADDRESS[0] for each in held) == 20
        assert any(each.client_point == client.point for each in held)


def retry_now(server: Server, datagram: bytes, form: int, address=ADDRESS) -> bytes | None:
    return server.handshakes.retry_now(datagram, HelloForm(form), address, 0.0)


def with_crc(datagram: bytes, form: int) -> bytes:
    """A hello whose checksum is right again, so that what else is wrong with it shows."""
    if form == 2:
        return datagram
    return datagram[:-4] + zlib.crc32(datagram[:-4]).to_bytes(4, "big")


class TestRetryAtOnce:
    """The answer to a flood, which is not read as a hello that may be answered is."""

    @ON_BOTH
    @pytest.mark.parametrize("cookie", [b"", bytes(17)], ids=["no cookie", "a wrong one"])
    @pytest.mark.parametrize("address", [ADDRESS, ("2001:db8::1", 5000, 0, 0)], ids=["4", "6"])
    def test_it_is_the_retry_that_the_whole_hello_gets(self, client, form, cookie, address):
        server, datagram = loaded(), client.datagram(form, cookie)
        retry = retry_now(server, datagram, form, address)
        assert is_retry(retry)
        assert retry == server.receive(datagram, 0.0, address)
        assert len(server.handshakes.half_open) == server.handshakes.waiting == 0

    def test_a_hello_with_an_encapsulation_key_gets_one(self):
        assert is_retry(retry_now(loaded(), SecondClient(kem_seed=SEED).datagram(1), 1))

    @ON_BOTH
    def test_none_is_told_without_load(self, server, client, form):
        assert retry_now(server, client.datagram(form), form) is None

    @ON_BOTH
    def test_a_cookie_that_holds_is_for_the_whole_hello(self, client, form):
        server = loaded()
        cookie = client.cookie(retry_now(server, client.datagram(form), form))
        assert retry_now(server, client.datagram(form, cookie), form) is None
        assert is_retry(retry_now(server, client.datagram(form, cookie), form, OTHER_ADDRESS))

    @ON_BOTH
    def test_a_client_that_was_answered_gets_its_answer_again(self, server, client, form):
        answer = server.answer(client.datagram(form))
        flood(server, 100, 0.0)
        assert retry_now(server, client.datagram(form), form) is None
        assert server.receive(client.datagram(form), 0.0) == answer

    def test_a_hello_of_an_open_session_gets_none(self, server, client):
        reply = client.read(server.answer(client.datagram()))
        server.receive(sealed(client.secrets(reply)[0], reply.parts.connection_id), 0.0)
        flood(server, 100, 0.0)
        assert retry_now(server, client.datagram(), 2) is None

    @ON_BOTH
    def test_hellos_to_others_and_of_other_versions_get_none(self, form):
        server = loaded()
        for other in (SecondClient(audience="other"), SecondClient(versions=b"\3")):
            assert retry_now(server, other.datagram(form), form) is None
        assert retry_now(server, SecondClient().datagram(2, routing=1), 2) is None

    def test_a_hello_of_version_1_that_is_shorter_than_its_family_asks_gets_none(self, client):
        datagram = client.datagram(1)
        short = datagram[:13] + (len(datagram) - 25).to_bytes(2, "big") + datagram[15:-5]
        short = with_crc(short + bytes(4), 1)
        assert retry_now(loaded(), short, 1) is None
        assert is_retry(retry_now(loaded(), short, 1, ("2001:db8::1", 5000, 0, 0)))

    @ON_BOTH
    def test_damaged_hellos_get_none_that_the_whole_hello_would_not_get(self, form, seed):
        rng, asked = random.Random(seed), 0
        server = loaded()
        for kem_seed in (None, SEED):
            whole = SecondClient(kem_seed=kem_seed).datagram(form, bytes(17))
            for each in [*prefixes(whole[:400]), *(mutated(rng, whole) for _ in range(500))]:
                datagram = with_crc(each, form)
                retry = retry_now(server, datagram, form)
                if retry is not None:
                    asked += 1
                    assert retry == server.receive(datagram, 0.0)
        assert asked > 0


@ON_BOTH
def test_damaged_hellos_are_hellos_or_dropped(server, client, form, seed):
    rng, datagram = random.Random(seed), client.datagram(form, bytes(17))
    for each in prefixes(datagram[:160]):
        assert server.answer(each) is None
    for _ in range(300):
        server.answer(mutated(rng, datagram))
    assert set(server.dropped) <= {"malformed hello", "other audience", "other worker"}


def test_the_root_key_of_an_answer(server, client):
    reply = client.read(server.answer(client.datagram()), None)
    assert reply.parts.root_key == ROOT_POINT
