"""Magnet links, as they circulate and as attackers would write them, become values or clear refusals."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY, hex_digits
from weightswarm.errors import InvalidInput
from weightswarm.magnet import InfoHash, MagnetLink, PeerAddress, looks_like_magnet, parse_magnet

V1 = "5546272da9065eddeb6fcd7ffddeef5b75be79a7"
V2 = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e"
LINK = f"magnet:?xt=urn:btih:{V1}"

MISTRAL = (
    "magnet:?xt=urn:btih:208B101A0F51514ECF285885A8B0F6FB1A1E4D7D&dn=mistral-7B-v0.1&tr=udp%3a%2f-tp%3a%2f%2f2Ftracker"
    ".opentrackr.org%3a1337%2fannounce&tr=https%3a%2f-tps%3a%2f%2ft.co%2fHAadNvH1t0%3a443%2fannounce&tr=wss%3a%2f%2f"
    "wstracker.online"
)
MIXTRAL_8X7B = (
    "magnet:?xt=urn:btih:5546272da9065eddeb6fcd7ffddeef5b75be79a7&dn=mixtral-8x7b-32kseqlen&tr=udp%3A%2F%http://2F"
    "opentracker.i2p.rocks%3A6969%2Fannounce&tr=http%3A%2F%http://2Ftracker.openbittorrent.com%3A80%2Fannounce"
)
MIXTRAL_8X22B = (
    "magnet:?xt=urn:btih:9238b09245d0d8cd915be09927769d5f7584c1c9&dn=mixtral-8x22b&tr=udp%3A%2F%http://2Fopen.demonii"
    ".com%3A1337%2Fannounce&tr=http%3A%2F%https://t.co/OdtBUsbeV5%3A1337%2Fannounce"
)
PIXTRAL = (
    "magnet:?xt=urn:btih:7278e625de2b1da598b23954c13933047126238a&dn=pixtral-12b-240910&tr=udp%3A%2F%2Ftracker"
    ".opentrackr.org%3A1337%2Fannounce&tr=udp%3A%2F%2Fopen.demonii.com%3A1337%2Fannounce&tr=http%3A%2F%2Ftracker"
    ".ipv6tracker.org%3A80%2Fannounce"
)
GROK = (
    "magnet:?xt=urn:btih:5f96d43576e3d386c9ba65b883210a393b68210e&tr=https%3A%2F%2Facademictorrents.com%2Fannounce.php"
    "&tr=udp%3A%2F%2Ftracker.coppersurfer.tk%3A6969&tr=udp%3A%2F%2Ftracker.opentrackr.org%3A1337%2Fannounce"
)

hosts = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
info_hashes = st.one_of(
    st.builds(InfoHash, v1=hex_digits(40)),
    st.builds(InfoHash, v2=hex_digits(64)),
    st.builds(InfoHash, v1=hex_digits(40), v2=hex_digits(64)),
)
peers = st.builds(
    PeerAddress,
    st.one_of(hosts, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)),
    st.integers(1, 65535),
)


def urls(*schemes: str) -> st.SearchStrategy[tuple[str, ...]]:
    paths = st.text(st.sampled_from(string.ascii_letters + string.digits + "/?&=%+#é~ü"), max_size=20)
    one = st.builds("{}://{}/{}".format, st.sampled_from(schemes), hosts, paths)
    return st.lists(one, max_size=4, unique=True).map(tuple)


links = st.builds(
    MagnetLink,
    info_hash=info_hashes,
    display_name=st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30),
    exact_length=st.none() | st.integers(0, 10**18 - 1),
    trackers=urls("udp", "http", "https", "wss"),
    web_seeds=urls("http", "https"),
    peers=st.lists(peers, max_size=4, unique=True).map(tuple),
)


@PROPERTY
@given(links)
def test_a_formatted_link_parses_to_itself(link: MagnetLink) -> None:
    assert parse_magnet(str(link)) == link


@PROPERTY
@given(st.text(st.characters(), max_size=200), st.booleans())
def test_any_text_is_a_link_that_formats_or_a_refusal(text: str, hashed: bool) -> None:
    try:
        link = parse_magnet(f"{LINK}&dn={text}&tr={text}&ws={text}&x.pe={text}&{text}" if hashed else f"magnet:?{text}")
    except InvalidInput:
        assert not hashed
    else:
        assert parse_magnet(str(link)).info_hash == link.info_hash


def test_a_name_that_was_not_utf_8_on_the_command_line_can_be_formatted() -> None:
    assert str(parse_magnet(f"{LINK}&dn=caf\udce9")).startswith(LINK)


@pytest.mark.parametrize(
    ("text", "v1", "name"),
    [
        (MISTRAL, "208b101a0f51514ecf285885a8b0f6fb1a1e4d7d", "mistral-7B-v0.1"),
        (MIXTRAL_8X7B, "5546272da9065eddeb6fcd7ffddeef5b75be79a7", "mixtral-8x7b-32kseqlen"),
        (MIXTRAL_8X22B, "9238b09245d0d8cd915be09927769d5f7584c1c9", "mixtral-8x22b"),
        (PIXTRAL, "7278e625de2b1da598b23954c13933047126238a", "pixtral-12b-240910"),
        (GROK, "5f96d43576e3d386c9ba65b883210a393b68210e", None),
    ],
    ids=["mistral-7b", "mixtral-8x7b", "mixtral-8x22b", "pixtral", "grok-1"],
)
def test_the_links_of_real_releases_name_their_torrents(text: str, v1: str, name: str | None) -> None:
    link = parse_magnet(text)
    assert link.info_hash == InfoHash(v1=v1)
    assert link.display_name == name
    for tracker in link.trackers:
        scheme, _, rest = tracker.partition("://")
        assert scheme in {"udp", "http", "https", "wss"}
        assert not rest.startswith(("2F", "t.co")), "what a linkifier made of a tracker is not its address"
        assert "%" not in rest


def test_intact_trackers_of_real_links_are_kept_in_order() -> None:
    assert parse_magnet(PIXTRAL).trackers == (
        "udp://tracker.opentrackr.org:1337/announce",
        "udp://open.demonii.com:1337/announce",
        "http://tracker.ipv6tracker.org:80/announce",
    )
    assert parse_magnet(GROK).trackers == (
        "https://academictorrents.com/announce.php",
        "udp://tracker.coppersurfer.tk:6969",
        "udp://tracker.opentrackr.org:1337/announce",
    )
    assert "wss://wstracker.online" in parse_magnet(MISTRAL).trackers


BASE32 = base64.b32encode(bytes.fromhex(V1)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"magnet:?xt=urn:btih:{BASE32}",
        f"magnet:?xt=urn:btih:{BASE32.lower()}",
        f"MAGNET:?XT=URN:BTIH:{V1.upper()}",
        f"magnet:xt=urn:btih:{V1}",
        f"  {LINK}\n",
        f'"{LINK}"',
        f"'{LINK}'",
        f"<{LINK}>",
        f"`{LINK}`",
        f"magnet:?dn=x&amp;xt=urn:btih:{V1}&amp;tr=http://t.example/a",
        f"magnet:?xt.1=urn:btih:{V1}",
        f"magnet:?xt=urn%3Abtih%3A{V1}",
        f"magnet:?xt=urn:sha1:ABC&xt=urn:btih:{V1}",
        f"magnet:?xt=urn:btih:{V1}&xt=urn:btih:{'0' * 40}",
    ],
)
def test_what_people_paste_is_understood(text: str) -> None:
    assert looks_like_magnet(text)
    assert parse_magnet(text).info_hash == InfoHash(v1=V1)


def test_html_ampersands_do_not_hide_the_trackers() -> None:
    link = parse_magnet(f"{LINK}&amp;dn=a%26b&amp;tr=http%3A%2F%2Ft.example%2Fa")
    assert (link.display_name, link.trackers) == ("a&b", ("http://t.example/a",))


def test_hybrid_and_v2_hashes_are_read() -> None:
    assert parse_magnet(f"{LINK}&xt=urn:btmh:1220{V2}").info_hash == InfoHash(V1, V2)
    assert parse_magnet(f"magnet:?xt=urn:btmh:1220{V2.upper()}").info_hash == InfoHash(v2=V2)


@pytest.mark.parametrize(
    "text",
    [
        "magnet:",
        "magnet:?",
        "magnet:?dn=only-a-name",
        LINK[:-1],
        f"{LINK}0",
        f"magnet:?xt=urn:btih:{BASE32[:-1]}",
        f"magnet:?xt=urn:btih:{BASE32[:-1]}1",
        f"magnet:?xt=urn:btmh:1220{V2[:-1]}",
        f"magnet:?xt=urn:btmh:1114{V1}",
        "magnet:?xt=urn:ed2k:31D6CFE0D16AE931B73C59D7E0C089C0",
    ],
)
def test_a_link_without_a_whole_hash_is_refused_and_says_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no torrent") as caught:
        parse_magnet(text)
    assert caught.value.hint is not None
    assert "quote" in caught.value.hint


@pytest.mark.parametrize("text", ["", "org/model", "https://example.com/?xt=urn:btih:" + V1, V1])
def test_what_is_no_link_is_called_so(text: str) -> None:
    assert not looks_like_magnet(text)
    with pytest.raises(InvalidInput, match="Not a magnet link"):
        parse_magnet(text)


def test_a_link_over_64_kib_is_refused() -> None:
    fits = f"{LINK}&dn=".ljust(64 * 1024, "x")
    assert len(parse_magnet(fits).display_name or "") > 65_000
    with pytest.raises(InvalidInput, match="longer than 65,536"):
        parse_magnet(fits + "x")


def test_at_most_256_trackers_web_seeds_and_peers_are_taken() -> None:
    for key, entries in {
        "tr": [f"udp://{i}.t.example:1" for i in range(300)],
        "ws": [f"http://{i}.t.example/" for i in range(300)],
        "x.pe": [f"10.0.{i // 256}.{i % 256}:1" for i in range(300)],
    }.items():
        link = parse_magnet("&".join([LINK, *(f"{key}={entry}" for entry in entries)]))
        taken = link.trackers + link.web_seeds + tuple(map(str, link.peers))
        assert taken == tuple(entries[:256]), key


def test_an_entry_given_twice_is_taken_once() -> None:
    link = parse_magnet(f"{LINK}&tr=udp://t.example:1&tr.2=udp://t.example:1&x.pe=h:1&x.pe=h:1")
    assert (link.trackers, link.peers) == (("udp://t.example:1",), (PeerAddress("h", 1),))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://t.example/",
        "gopher://t.example/",
        "javascript:alert(1)",
        "//t.example/",
        "t.example:80",
        "http:/t.example",
        "http://t.example/%0d%0aHost:%20other",
        "http://t.example/%1b[2J",
        "http://t.example/%e2%80%aegpj",
        "http://t.example/%00",
    ],
)
def test_hostile_trackers_and_web_seeds_are_left_out(url: str) -> None:
    link = parse_magnet(f"{LINK}&tr={url}&ws={url}&tr=udp://t.example:1&ws=https://w.example/")
    assert (link.trackers, link.web_seeds) == (("udp://t.example:1",), ("https://w.example/",))


def test_a_web_seed_speaks_http() -> None:
    assert parse_magnet(f"{LINK}&ws=udp://t.example:1&ws=wss://t.example").web_seeds == ()


HOSTILE_PEERS = [
    "",
    ":",
    "10.0.0.1",
    "10.0.0.1:",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0.1:-1",
    "10.0.0.1:+1",
    "10.0.0.1:1e3",
    "10.0.0.1:٣",
    "10.0.0.1:" + "9" * 5000,
    "::1:6881",
    "[10.0.0.1]:6881",
    "[::1:6881",
    "[]:6881",
    "[::1]]:6881",
    "a b:1",
    "a/b:1",
    "-a:1",
    "a@b:1",
    "a\x1b[2J:1",
    "é.example:1",
    "[fe80::1%\x1b[2J]:1",
    "[fe80::1%\u202e]:1",
    "[fe80::1%a/../b c]:1",
    "x" * 300 + ":1",
]


@pytest.mark.parametrize("text", HOSTILE_PEERS)
def test_a_malformed_peer_is_refused_alone_and_left_out_of_a_link(text: str) -> None:
    with pytest.raises(InvalidInput, match="Not a HOST:PORT address"):
        PeerAddress.parse(text)
    quoted = text.replace("%", "%25")
    assert parse_magnet(f"{LINK}&x.pe={quoted}&x.pe=10.0.0.1:1").peers == (PeerAddress("10.0.0.1", 1),)


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("10.0.0.1:6881", PeerAddress("10.0.0.1", 6881)),
        ("seed.example.org:1", PeerAddress("seed.example.org", 1)),
        ("[2001:db8::1]:65535", PeerAddress("2001:db8::1", 65535)),
        ("[::1]:6881", PeerAddress("::1", 6881)),
    ],
)
def test_a_peer_address_reads_and_writes_itself(text: str, peer: PeerAddress) -> None:
    assert PeerAddress.parse(f" {text} ") == peer
    assert str(peer) == text
    for quoted in (text, text.replace("[", "%5B").replace("]", "%5D").replace(":", "%3A")):
        assert parse_magnet(f"{LINK}&x.pe={quoted}").peers == (peer,)


@pytest.mark.parametrize("length", ["", "-1", "1.5", "x", "٣", "9" * 19, "9" * 5000])
def test_a_senseless_length_is_ignored(length: str) -> None:
    assert parse_magnet(f"{LINK}&xl={length}").exact_length is None


def test_refusals_do_not_speak_to_the_terminal() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_magnet("\x1b]0;owned\x07\u202e")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (InfoHash(V1), InfoHash(V1), True),
        (InfoHash(V1), InfoHash(V1, V2), True),
        (InfoHash(v2=V2), InfoHash(V1, V2), True),
        (InfoHash(V1, V2), InfoHash(V1, V2), True),
        (InfoHash(V1), InfoHash(v2=V2), False),
        (InfoHash(V1), InfoHash("0" * 40), False),
        (InfoHash(V1, V2), InfoHash(V1, "0" * 64), False),
        (InfoHash(V1, V2), InfoHash("0" * 40, V2), False),
    ],
)
def test_info_hashes_match_when_one_is_shared_and_none_contradicts(
    one: InfoHash, other: InfoHash, expected: bool
) -> None:
    assert one.matches(other) is expected
    assert other.matches(one) is expected


@pytest.mark.parametrize("v1", ["", V1.upper(), V1[:-1], V1 + "\n", "g" * 40])
def test_an_info_hash_that_exists_is_valid(v1: str) -> None:
    with pytest.raises(InvalidInput):
        InfoHash(v1=v1)
    with pytest.raises(InvalidInput):
        InfoHash(v2=v1)
    with pytest.raises(InvalidInput):
        InfoHash()


def test_a_bare_info_hash_is_read_in_every_notation() -> None:
    assert InfoHash.parse(f" {V1.upper()}\n") == InfoHash.parse(BASE32.lower()) == InfoHash(V1)
    assert InfoHash.parse(V2.upper()) == InfoHash(v2=V2)
    assert InfoHash(V1, V2).digests == (V1, V2)
    assert InfoHash(V1, V2).short == V1[:8]
    for text in ("", "org/model", V1[:-1], V2 + "0", "İ" * 32):
        with pytest.raises(InvalidInput, match="Not an info-hash"):
            InfoHash.parse(text)
