"""Finding magnet links in a text as people paste it: a tweet, a mail, a page's source, a terminal's scrollback.

What is found is one line without what the text wrapped around the link or put into it; `repair` reads it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

from weightswarm.magnet.links import MAX_LENGTH

MAX_LINKS = 32

_KEY = r"(?:xt|dn|tr|xl|ws|xs|as|kt|mt|so|x\.pe|x\.sig)(?:\.\d+)?(?:=|%3d)"
_NEXT_KEY = re.compile(rf"[?&]?(?:amp;)?{_KEY}", re.IGNORECASE)
_LATER_KEY = re.compile(rf"&(?:amp;)?{_KEY}", re.IGNORECASE)
_NAME_GOES_ON = re.compile(rf"[^&\n]{{0,200}}&(?:amp;)?{_KEY}", re.IGNORECASE)
_START = re.compile(
    rf"magnet:(?=[\\/?&\s]*(?:amp;)?(?:{_KEY}|[a-z.]+\\=|urn:|[0-9a-z]{{32}}))"
    r"|(?<![\w&?;=:%./])(?:xt=)?urn:bt[im]h:"
    r"|magnet%(?:25)*3a",
    re.IGNORECASE,
)
# Soft hyphens, zero-width characters, direction marks, byte order marks, variation selectors.
_HIDDEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe0e\ufe0f\ufeff]")
_QUOTED_LINE = re.compile(r"\n[^\S\n]*(?:>[^\S\n]*)+")
_WORD = re.compile(r"\S+")
_AMPERSANDS = re.compile(r"&(?:(?:amp|#38|#x26);)+|\\u0026", re.IGNORECASE)
_ENDS = re.compile('[<>"`\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u2018]|&(?:quot|lt|gt|#39|#34|apos|nbsp);')
_BREAK = re.compile(rf"\s|{_ENDS.pattern}", re.IGNORECASE)
_CLOSERS = {"'": "'", "\u2018": "\u2019", "\u201a": "\u2018", "<": "|", "|": "|", "*": "*"}
_BRACKETS = {")": "(", "]": "[", "}": "{", "\u3011": "\u3010", "\uff09": "\uff08", "\u300d": "\u300c"}
_CUT = re.compile(r"(?:\u2026|\.\.\.|%[0-9a-f]?)+$", re.IGNORECASE)
_TAIL = 256
"""How much of a link's end is looked at to tell how it goes on: each word costs the same, however many came before."""
_DIGEST = re.compile(r"(?:urn:bt([im])h:|magnet:)([0-9a-z]*)$", re.IGNORECASE)
_TOPICS = ("xt=urn:btih:", "xt=urn:btmh:")
_ANNOUNCE = "announce"


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A link that begins with `magnet:`. `repairs` tell what was done to it; `cut` that its end is missing."""

    text: str
    repairs: tuple[str, ...] = ()
    cut: bool = False


def holds_magnet(text: str) -> bool:
    """Tell whether `text` has a magnet link in it, or was meant as one."""
    return bool(_starts(_HIDDEN.sub("", text)))


def find_links(text: str) -> Iterator[FoundLink]:
    """Yield the links in a text, in order, 32 at most."""
    clean = _HIDDEN.sub("", text)
    hidden = [match.start() - count for count, match in enumerate(_HIDDEN.finditer(text))]
    starts = _starts(clean)
    for start, end in zip(starts[:MAX_LINKS], [*starts[1:], len(clean)], strict=False):
        found, length = _cut_out(clean[start:end], clean[:start][-1:])
        if bisect_left(hidden, start + length) > bisect_right(hidden, start):
            found = replace(found, repairs=("hidden characters were taken out", *found.repairs))
        yield found


def _starts(text: str) -> list[int]:
    starts = []
    at, plain = 0, False
    for match in _START.finditer(text):
        # Within a link that began before, an encoded `magnet:` is part of a name or an address.
        plain = plain and not _BREAK.search(text, at, match.start())
        at = match.end()
        encoded = match[0][6:7] == "%"
        if _within_link(text, match) or (encoded and plain):
            continue
        starts.append(match.start())
        plain = plain or not encoded
    meant = not starts and text.strip()[:7].lower() == "magnet:"
    return [len(text) - len(text.lstrip())] if meant else starts


def _within_link(text: str, start: re.Match[str]) -> bool:
    """Tell whether a hash stands in a link that was wrapped before it."""
    before = text[max(0, start.start() - _TAIL) : start.start()].rstrip(" \t\r\n>")
    return start[0][0] in "uxUX" and before[-1:] in ("&", "?", "=", ";")


def _cut_out(region: str, opener: str) -> tuple[FoundLink, int]:
    """Return the link at the start of `region`, which `opener` precedes, and how far it reaches."""
    repairs = []
    link, joined, length = _gather(region, opener)
    if joined:
        repairs.append("line breaks and spaces were taken out")
    if "\\" in link:
        link = re.sub(r"\\([?&=:%~\[\]])", r"\1", link).rstrip("\\")
        repairs.append("backslashes were taken out")
    if re.match("magnet%", link, re.IGNORECASE):
        link = link.partition("&")[0]
        for _ in range(4):
            if link[:7].lower() == "magnet:":
                break
            link = unquote(link)
        repairs.append("it was percent-encoded as a whole")
    elif "=" not in link and "%3d" in link.lower():
        link = unquote(link)
        repairs.append("it was percent-encoded as a whole")
    whole = _without_cut(link)
    cut, link = whole != link, whole
    if _AMPERSANDS.search(link):
        link = _AMPERSANDS.sub("&", link)
        repairs.append("&amp; was read as &")
    body = re.sub(r"^magnet:", "", link, flags=re.IGNORECASE)
    if body == link:
        repairs.append("magnet:? was missing")
    elif re.match(r"(?://|/)?\?", body) is None:
        repairs.append("the question mark was missing")
    body = re.sub(r"^[/?&]+", "", body)
    if re.match(r"urn:|[0-9a-z]{32}", body, re.IGNORECASE):
        body = f"xt={body}"
        if not repairs:
            repairs.append("xt= was missing")
    return FoundLink(f"magnet:?{body}", tuple(repairs), cut), length


def _without_cut(link: str) -> str:
    return link[:-_TAIL] + _CUT.sub("", link[-_TAIL:])


def _gather(region: str, opener: str) -> tuple[str, bool, int]:
    """Join the words that belong to the link; tell whether there were several, and where the last one ends."""
    region = _QUOTED_LINE.sub(lambda match: "\n".ljust(len(match[0])), region)
    words = _WORD.finditer(region)
    first = next(words)
    link, ended = _until_end(first[0], opener)
    line, widths, joined, at = len(link), set[int](), False, first.end()
    for word in words:
        if ended or len(link) > MAX_LENGTH:
            break
        newline = region.count("\n", at, word.start()) == 1
        wrapped = newline and line >= 20 and line in widths
        if newline:
            widths.add(line)
            line = 0
        if not newline and _in_name(link) and _NAME_GOES_ON.match(region, word.start()):
            link += " "
        elif word[0].lower() in ("&", "&amp;"):
            pass
        elif wrapped or _goes_on(link[-_TAIL:], word[0], newline):
            joined = True
            if word[0][0] == "?" and link[-1] in "?&":
                link = link[:-1]
        else:
            break
        more, ended = _until_end(word[0], opener)
        link, line, at = link + more, line + len(word[0]), word.end()
    return _trimmed(link), joined, at


def _until_end(word: str, opener: str) -> tuple[str, bool]:
    """Return a word up to what cannot stand in a link, and whether there was such a thing."""
    closer = _CLOSERS.get(opener)
    ends = [match.start()] if (match := _ENDS.search(word)) else []
    if closer is not None and closer in word:
        ends.append(word.index(closer))
    return (word[: min(ends)], True) if ends else (word, False)


def _in_name(link: str) -> bool:
    return link.rpartition("&")[2].rpartition("?")[2][:3].lower() == "dn="


def _goes_on(link: str, word: str, newline: bool) -> bool:
    """Tell whether a word after a space or line break continues the link, by what only a link looks like."""
    if _NEXT_KEY.match(word) or _LATER_KEY.search(word) or link[-1] == "=":
        return True
    if re.search(r"%(?:3a|2f|20|5b|26|3d|25)", word, re.IGNORECASE):
        return True
    if (escape := re.search(r"%[0-9a-f]?$", link, re.IGNORECASE)) is not None:
        return re.match(r"%[0-9a-f]{2}", escape[0] + word, re.IGNORECASE) is not None
    last = re.split(r"[?&]", link)[-1].lower()
    if newline and (
        _NEXT_KEY.match(last + word) if "=" not in last else any(topic.startswith(last) for topic in _TOPICS)
    ):
        return True
    if (digest := _DIGEST.search(link)) is not None:
        return _more_digits(digest[1], digest[2], word, newline)
    tail = re.search(r"(?:%2f|/)([a-z]+)$", link, re.IGNORECASE)
    if tail is not None and _ANNOUNCE.startswith(tail[1]) and word.startswith(_ANNOUNCE[len(tail[1]) :]):
        return tail[1] != _ANNOUNCE
    # The rest of a host name with its port, such as `ackr.org:1337/announce`.
    return newline and "=" in link and re.match(r"[\w.-]*[a-z]:\d{2,5}(?:[/&]|$)", word, re.IGNORECASE) is not None


def _more_digits(kind: str | None, digits: str, word: str, newline: bool) -> bool:
    """Tell whether a word brings what an info-hash lacks: its last digits, or a whole line of digits."""
    lengths = (68,) if (kind or "").lower() == "m" else (32, 40)
    if len(digits) in lengths and (len(digits) != 32 or re.fullmatch(r"[a-z2-7]*", digits, re.IGNORECASE)):
        return False
    more = re.match(r"[0-9a-z]*", word, re.IGNORECASE)
    length = len(digits) + (len(more[0]) if more else 0)
    line = newline and length < lengths[-1] and re.fullmatch(r"[0-9a-f]+", word, re.IGNORECASE) is not None
    return line or (length > len(digits) and length in lengths)


def _trimmed(link: str) -> str:
    """Take off the punctuation of the sentence around a link, and brackets that it did not open."""
    depth = dict.fromkeys(_BRACKETS.values(), 0)
    for at, character in enumerate(link):
        if character in depth:
            depth[character] += 1
        elif character in _BRACKETS:
            depth[_BRACKETS[character]] -= 1
            if depth[_BRACKETS[character]] < 0:
                link = link[:at]
                break
    if _without_cut(link) != link:
        return link
    link = link.rstrip(",;!?'\u2019\u2018") or link
    return link.removesuffix(".") if not _in_name(link) else link
