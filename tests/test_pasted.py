"""Links as people really paste them are mended, what is lost is said, and a clean link is left as it is."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY
from test_magnet import GROK, LINK, MISTRAL, MIXTRAL_8X7B, MIXTRAL_8X22B, PIXTRAL, V1, V2, links
from weightswarm.errors import InvalidInput
from weightswarm.magnet import Fate, FileSelection, MagnetLink, PastedLink, holds_magnet, parse_magnet, read_pasted

OPENTRACKR = "udp://tracker.opentrackr.org:1337/announce"
DEMONII = "udp://open.demonii.com:1337/announce"
CLEAN = f"{LINK}&dn=mixtral-8x7b&tr={quote(OPENTRACKR, safe='')}&tr={quote(DEMONII, safe='')}"
RELEASES = [MISTRAL, MIXTRAL_8X7B, MIXTRAL_8X22B, PIXTRAL, GROK]


def lost(pasted: PastedLink) -> list[str]:
    return [repair.found for repair in pasted.repairs if repair.fate is Fate.LOST]


def repaired(pasted: PastedLink) -> list[str]:
    return [repair.became or repair.reason for repair in pasted.repairs if repair.fate is Fate.REPAIRED]


# --- the official links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "trackers", "mended", "gone"),
    [
        (MISTRAL, [OPENTRACKR, "wss://wstracker.online"], [OPENTRACKR], ["https:/-tps://t.co/HAadNvH1t0:443/announce"]),
        (
            MIXTRAL_8X7B,
            ["udp://opentracker.i2p.rocks:6969/announce", "http://tracker.openbittorrent.com:80/announce"],
            ["udp://opentracker.i2p.rocks:6969/announce", "http://tracker.openbittorrent.com:80/announce"],
            [],
        ),
        (MIXTRAL_8X22B, [DEMONII], [DEMONII], ["http:/%https://t.co/OdtBUsbeV5:1337/announce"]),
        (PIXTRAL, [OPENTRACKR, DEMONII, "http://tracker.ipv6tracker.org:80/announce"], [], []),
        (
            GROK,
            ["https://academictorrents.com/announce.php", "udp://tracker.coppersurfer.tk:6969", OPENTRACKR],
            [],
            [],
        ),
    ],
    ids=["mistral-7b", "mixtral-8x7b", "mixtral-8x22b", "pixtral", "grok-1"],
)
def test_the_official_links_come_out_with_the_trackers_they_were_written_with(
    text: str, trackers: list[str], mended: list[str], gone: list[str]
) -> None:
    pasted = read_pasted(text)
    assert pasted.magnet.info_hash == parse_magnet(text).info_hash
    assert list(pasted.magnet.trackers) == trackers
    assert repaired(pasted) == mended
    assert lost(pasted) == gone
    assert pasted.lost_trackers is bool(gone)


# --- one accident each -----------------------------------------------------------------------------------------------

BASE32 = base64.b32encode(bytes.fromhex(V1)).decode()


def wrapped(text: str, width: int, prefix: str = "") -> str:
    return f"\n{prefix}".join(text[at : at + width] for at in range(0, len(text), width))


SAME_LINK = {
    "html-ampersands": (CLEAN.replace("&", "&amp;"), "&amp;"),
    "html-escaped-twice": (CLEAN.replace("&", "&amp;amp;"), "&amp;"),
    "numeric-ampersands": (CLEAN.replace("&", "&#38;"), "&amp;"),
    "json": (CLEAN.replace("&", "\\u0026"), "&amp;"),
    "zsh-escapes": (re.sub(r"([?&=])", r"\\\1", CLEAN), "backslashes"),
    "no-question-mark": (CLEAN.replace("?", ""), "question mark"),
    "slashes": (CLEAN.replace("magnet:?", "magnet://?"), None),
    "no-scheme": (CLEAN.removeprefix("magnet:?xt="), "magnet:? was missing"),
    "no-urn": (CLEAN.replace("urn:btih:", ""), "urn:btih: was missing"),
    "base32": (CLEAN.replace(V1, BASE32.lower()), None),
    "upper-case-hash": (CLEAN.replace(V1, V1.upper()), None),
    "encoded-whole": (quote(CLEAN, safe=""), "as a whole"),
    "encoded-whole-twice": (quote(quote(CLEAN, safe=""), safe=""), "as a whole"),
    "encoded-after-the-scheme": ("magnet:?" + quote(CLEAN.removeprefix("magnet:?"), safe=""), "as a whole"),
    "values-encoded-twice": (CLEAN.replace("%", "%25"), "encoded twice"),
    "redirector": (f"https://redirect.example/?u={quote(CLEAN, safe='')}&h=AT0x", "as a whole"),
    "linkified": (CLEAN.replace("%3A%2F%2F", "%3A%2F%http://2F"), "linkifier"),
    "linkified-to-https": (CLEAN.replace("%3A%2F%2F", "%3A%2F%https://2F"), "linkifier"),
    "linkified-twice": (CLEAN.replace("%3A%2F%2F", "%3a%2f-tp%3a%2f%2f2F"), "linkifier"),
    "zero-width": (CLEAN.replace("tracker", "tra\u200bcker").replace("&dn", "\u2060&dn"), "hidden characters"),
    "no-break-spaces": (CLEAN.replace("&", "\u00a0&\u00a0"), "spaces"),
    "mail": (wrapped(CLEAN, 72), "line breaks"),
    "narrow-mail": (wrapped(CLEAN, 60), "line breaks"),
    "windows-line-ends": (wrapped(CLEAN, 72).replace("\n", "\r\n"), "line breaks"),
    "quoted-mail": (wrapped(CLEAN, 72, "> "), "line breaks"),
    "wrapped-at-ampersands": (CLEAN.replace("&", "\n  &"), "line breaks"),
    "wrapped-behind-ampersands": (CLEAN.replace("&", "&\n"), "line breaks"),
    "wrapped-in-the-hash": (CLEAN.replace(V1, f"{V1[:10]}\n{V1[10:]}"), "line breaks"),
    "typographic-quotes": (f"\u201c{CLEAN}\u201d", None),
    "single-typographic-quotes": (f"\u2018{CLEAN}\u2019", None),
    "guillemets": (f"\u00ab{CLEAN}\u00bb", None),
    "parentheses": (f"(the link: {CLEAN})", None),
    "brackets": (f"[{CLEAN}]", None),
    "angle-brackets": (f"<{CLEAN}>", None),
    "slack": (f"see <{CLEAN}|the magnet>", None),
    "markdown": (f"Get it [here]({CLEAN}), it is good.", None),
    "code": (f"Run `weightswarm fetch '{CLEAN}'` now", None),
    "html": (f'<a href="{CLEAN}" rel="nofollow">magnet</a>', None),
    "sentence": (f"It is at {CLEAN}, and it is good.", None),
    "question": (f"Have you seen {CLEAN}?", None),
    "tweet": (f"\u2728 New model! \U0001f680\n\n{CLEAN}\n\nRELEASE a6bbd9affe0c2725c1b7410d66833e24\nEnjoy", None),
    "tab-separated": (f"mixtral\t{CLEAN}\t87 GB", None),
    "byte-order-mark": (f"\ufeff{CLEAN}\n", None),
    "twice-the-same": (f"{CLEAN} {CLEAN}", None),
    "bare-urn": (f"xt=urn:btih:{V1}&{CLEAN.partition('&')[2]}", "magnet:? was missing"),
    "missing-slash": (CLEAN.replace("%3A%2F%2F", "%3A%2F"), "slashes"),
    "no-protocol": (CLEAN.replace("udp%3A%2F%2F", ""), "protocol was missing"),
    "ends-mid-escape": (f"{CLEAN}&tr=udp%3", None),
    "cut-behind-a-parameter": (f"{CLEAN}\u2026", None),
    "cut-in-the-path": (f"{CLEAN[:-3]}\u2026", "cut off"),
    "cut-in-the-port": (f"{CLEAN.removesuffix('37%2Fannounce')}...", "cut off"),
    "cut-in-an-escape": (f"{CLEAN.removesuffix('Fannounce')}", "cut off"),
}


@pytest.mark.parametrize("accident", SAME_LINK)
def test_what_happened_to_a_link_on_its_way_is_undone_and_said(
    accident: str, figure: Callable[[str, float], None]
) -> None:
    text, said = SAME_LINK[accident]
    assert holds_magnet(text)
    pasted = read_pasted(text)
    assert pasted.magnet == parse_magnet(CLEAN)
    if said is not None:
        assert any(said in str(repair) for repair in pasted.repairs), pasted.repairs
    elif accident != "ends-mid-escape":
        assert pasted.repairs == ()
    figure("ways of pasting a link tried", 1)


def test_everything_in_capitals_is_read_all_but_the_name() -> None:
    assert read_pasted(CLEAN.upper()).magnet == replace(parse_magnet(CLEAN), display_name="MIXTRAL-8X7B")


def test_a_name_with_spaces_is_whole_when_more_of_the_link_follows() -> None:
    assert read_pasted(f"{LINK}&dn=my new model&tr={DEMONII}").magnet.display_name == "my new model"
    assert read_pasted(f"{LINK}&dn=model is out now").magnet.display_name == "model"


@pytest.mark.parametrize(
    ("tail", "part"),
    [
        ("&tr=udp%3A%2F%2Ftracker.exam\u2026", "tracker"),
        ("&tr=udp%3A%2F%2Ft.example%3A13%", "tracker"),
        ("&xl=8700\u2026", "size"),
        ("&so=0,2,1\u2026", "file selection"),
        ("&x.pe=10.0.0.1:68\u2026", "peer"),
        ("&ws=https%3A%2F%2Fw.example%2Fmod\u2026", "web seed"),
        ("&xs=https%3A%2F%2Fw.example%2Fmodel.tor\u2026", "torrent URL"),
    ],
)
def test_what_is_cut_off_is_not_guessed_but_lost(tail: str, part: str) -> None:
    pasted = read_pasted(CLEAN + tail)
    assert pasted.magnet == parse_magnet(CLEAN)
    assert pasted.cut
    (repair,) = pasted.repairs
    assert (repair.fate, repair.part, repair.reason) == (Fate.LOST, part, "it is cut off")


@pytest.mark.parametrize(
    ("parameter", "part"),
    [
        ("tr=t.example:80", "tracker"),
        ("tr=https%3A%2F%2Ft.co%2Fabc", "tracker"),
        ("tr=file:///etc/passwd", "tracker"),
        ("tr=http://t.example/%0d%0aHost:%20other", "tracker"),
        ("tr=", "tracker"),
        ("tr=udp://", "tracker"),
        ("ws=udp://t.example:1", "web seed"),
        ("x.pe=nowhere", "peer"),
        ("xl=many", "size"),
        ("so=all", "file selection"),
        ("xs=ed2k://x", "torrent URL"),
    ],
)
def test_what_cannot_be_used_is_named(parameter: str, part: str) -> None:
    pasted = read_pasted(f"{CLEAN}&{parameter}")
    assert pasted.magnet == parse_magnet(CLEAN)
    assert [(repair.fate, repair.part) for repair in pasted.repairs] == [(Fate.LOST, part)]


def test_of_several_links_the_first_usable_is_used_and_the_others_are_named() -> None:
    text = f"magnet:?xt=urn:btih:{V1[:20]}\u2026 no:\n{CLEAN}\nand\n{PIXTRAL}\nor magnet:?xt=urn:btmh:1220{V2}"
    pasted = read_pasted(text)
    assert pasted.magnet == parse_magnet(CLEAN)
    assert [(r.fate, r.found) for r in pasted.repairs] == [(Fate.UNUSED, "pixtral-12b-240910"), (Fate.UNUSED, V2)]


@pytest.mark.parametrize(
    "text", [LINK, f"magnet:?xt=urn:btih:{BASE32}", f"urn:btih:{V1}", f"magnet:?xt=urn:btmh:1220{V2}"]
)
def test_a_link_that_the_shell_cut_is_known_by_its_shape(text: str) -> None:
    assert read_pasted(text).bare
    assert read_pasted(text).lost_trackers
    assert not read_pasted(f"{text}&dn=x").bare


@pytest.mark.parametrize(
    "text",
    [
        "magnet:",
        "magnet:?dn=only-a-name",
        f"magnet:?xt=urn:btih:{V1[:-1]}",
        f"magnet:?xt=urn:btih:{V1[:10]}\u2026",
        "urn:btih:",
    ],
)
def test_a_link_without_a_whole_hash_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no torrent") as caught:
        read_pasted(text)
    assert "copy the whole link" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text",
    ["", "org/model", V1, "https://example.com/?xt=urn:btih:" + V1, "./magnet.torrent", "a magnet: it pulls", "%3A"],
)
def test_what_holds_no_link_is_told_from_what_does(text: str) -> None:
    assert not holds_magnet(text)
    with pytest.raises(InvalidInput, match="Not a magnet link"):
        read_pasted(text)


def test_a_link_in_a_links_own_name_or_address_is_no_second_link() -> None:
    link = MagnetLink(
        parse_magnet(LINK).info_hash,
        display_name=f"magnet:?xt=urn:btih:{'0' * 40}",
        web_seeds=(f"http://h/?u={PIXTRAL}",),
    )
    assert read_pasted(str(link)) == PastedLink(link)


# --- properties ------------------------------------------------------------------------------------------------------

full_links = st.builds(
    replace,
    links,
    selection=st.none()
    | st.lists(st.integers(0, 9_999_999), min_size=1, max_size=5).map(
        lambda indices: FileSelection.parse(",".join(map(str, indices)))
    ),
    exact_sources=st.sampled_from([(), ("https://w.example/a.torrent",), ("http://a.example/x", "http://b.example/")]),
    acceptable_sources=st.sampled_from([(), ("https://w.example/?id=1&x=2",)]),
)


@PROPERTY
@given(full_links)
def test_a_formatted_link_parses_to_itself_and_needs_no_repair(link: MagnetLink) -> None:
    assert parse_magnet(str(link)) == link
    if not (link.display_name or "").endswith("..."):
        assert read_pasted(str(link)) == PastedLink(link)
        assert read_pasted(f"Look: \u201c{link}\u201d") == PastedLink(link)


_PIECES = st.sampled_from(
    [*RELEASES, CLEAN, LINK, "&amp;", "&", "\n", " ", "\u200b", "\u2026", "...", "%", "%2", "%2F%http://2F", "tr=",
     "dn=", "xt=urn:btih:", V1, BASE32, "magnet:?", "urn:btih:", '"', "\u201c", ")", "<", "\\", "so=1-3", "x.pe=h:1"]
)  # fmt: skip


@PROPERTY
@given(st.lists(_PIECES | st.text(max_size=10), max_size=12).map("".join))
def test_repair_is_idempotent_and_any_text_is_a_link_or_a_refusal(text: str) -> None:
    try:
        pasted = read_pasted(text)
    except InvalidInput:
        return
    assert holds_magnet(text)
    again = read_pasted(str(pasted.magnet))
    assert again.magnet == pasted.magnet
    assert all(str(repair) for repair in pasted.repairs)
    if not (pasted.magnet.display_name or "").endswith("..."):
        assert again.repairs == ()


@PROPERTY
@given(st.randoms(use_true_random=False), st.sampled_from([*RELEASES, CLEAN]))
def test_whatever_is_lost_of_a_link_its_hash_stays_right_or_it_is_refused(random: Random, text: str) -> None:
    kept = text[: random.randrange(len(text))]
    try:
        pasted = read_pasted(random.choice([kept, f"{kept}\u2026", wrapped(kept, 50), f"so: {kept}."]))
    except InvalidInput:
        return
    whole = read_pasted(text).magnet
    assert pasted.magnet.info_hash == whole.info_hash
    # A link cut short without a sign of it may end in a shorter address, never in another host or port's digits.
    assert set(pasted.magnet.trackers[:-1]) <= set(whole.trackers)


@pytest.mark.parametrize(
    "text",
    [
        "magnet:?" * 30_000,
        f"{LINK}&dn=" + "%" * 250_000,
        f"{LINK}&dn=" + "\u2026" * 250_000,
        f"{LINK}&" + " &" * 100_000,
        f"{LINK}&dn=" + "a " * 100_000 + "&tr=",
        f"{LINK}&tr=" + "/a" * 100_000,
        f"{LINK}&" + "tr=x&" * 12_000,
        f"{LINK}" + "\n>" * 100_000,
        "\u200b" * 250_000 + LINK,
        "(" * 100_000 + LINK + ")" * 100_000,
        "magnet%" + "25" * 100_000,
        "magnet:" + " " * 250_000,
    ],
    ids=lambda text: f"{text[:12]!r}…{text[-12:]!r}",
)
def test_a_quarter_megabyte_of_malice_takes_little_time(text: str) -> None:
    started = time.process_time()
    try:
        read_pasted(text)
    except InvalidInput as error:
        assert str(error)
    assert time.process_time() - started < 5


def test_over_a_megabyte_is_refused() -> None:
    with pytest.raises(InvalidInput, match="longer than 1,048,576"):
        read_pasted(LINK.ljust(1024 * 1024 + 1))


# --- file selections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"), [("0", "0"), ("2,0,4-6", "0,2,4-6"), ("3-4,1-3,5", "1-5"), (" 1 , 2 ", "1-2")]
)
def test_a_file_selection_is_kept_in_order(text: str, canonical: str) -> None:
    selection = FileSelection.parse(text)
    assert selection is not None
    assert str(selection) == canonical
    assert 1_000_000 not in selection


@pytest.mark.parametrize("text", ["", ",", "-1", "3-", "5-4", "1.5", "٣", "1,,2", "99999999", "0," * 2000 + "0"])
def test_a_file_selection_that_is_none_is_ignored(text: str) -> None:
    assert FileSelection.parse(text) is None
    assert parse_magnet(f"{LINK}&so={text}").selection is None


HYBRID = f"{LINK}&xt=urn:btmh:1220{V2}&dn=model&xl=3040024&tr=udp%3A%2F%2Ft.example%3A80&x.pe=127.0.0.1:35109"

UNESCAPED = f"{LINK}&dn=model&tr={OPENTRACKR}&tr={DEMONII}"


@pytest.mark.parametrize("width", range(24, 100))
def test_a_link_wrapped_at_any_width_is_whole_again(width: int) -> None:
    for text in (HYBRID, CLEAN, UNESCAPED):
        for prefix in ("", "> "):
            pasted = read_pasted(f"Dear all,\n\n{prefix}{wrapped(text, width, prefix)}\n\nYours, Lab\n")
            assert pasted.magnet == parse_magnet(text)


def test_a_digest_on_the_line_after_a_link_is_not_taken_into_it() -> None:
    for text in (HYBRID, CLEAN, LINK, f"{LINK}&dn=x"):
        assert read_pasted(f"{text}\n1faa9bc9b20fcfe81fcd4eb7166a79e6 consolidated.00.pth").magnet == parse_magnet(text)
