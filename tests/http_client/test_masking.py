"""Secrets are found in every form in which a peer repeats them, and a text keeps all the rest."""

import base64
import html
import json
import quopri
import re
import sys
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http_client.masking import MAX_NESTED, SHORTEST_HIDDEN, SHORTEST_PART, Mask

SECRET = 'Pl/ant+ed=K3y&of <the>"shop"\\é~'
USER = "44056"


def _packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _packed_for_urls(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _wrapped(columns: int, end: str = "\n") -> Callable[[str], str]:
    return lambda text: end.join(textwrap.wrap(text, columns, break_on_hyphens=False))


def _small_digits(text: str) -> str:
    return re.sub("%..", lambda code: code[0].lower(), quote(text, safe=""))


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a path": lambda text: quote(text, safe=""),
    "in a path, slashes kept": quote,
    "in a path, small digits": _small_digits,
    "in a path, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "in a form": quote_plus,
    "every character by percent": lambda text: "".join(f"%{b:02x}" for b in text.encode()),
    "by an old script": lambda text: "".join(f"%u{ord(c):04X}" for c in text),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON, as it is": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON, slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "in JSON within JSON": lambda text: json.dumps(json.dumps(text))[1:-1],
    "every character by JSON": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "as a program prints it": ascii,
    "in HTML": html.escape,
    "in HTML, some by name": lambda text: (
        html.escape(text).replace("/", "&sol;").replace("+", "&plus;").replace("&amp;", "&AMP;")
    ),
    "in HTML, in decimal": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "in HTML, without semicolons": lambda text: "".join(f"&#{ord(c):05}" for c in text),
    "in HTML, in hexadecimal": lambda text: "".join(f"&#X{ord(c):X};" for c in text),
    "in HTML within JSON": lambda text: json.dumps(html.escape(text))[1:-1],
    "in base64": _packed,
    "in base64, without padding": lambda text: _packed(text).rstrip("="),
    "in base64 for URLs": _packed_for_urls,
    "with the user, in base64": lambda text: _packed(f"{USER}:{text}"),
    "with the user, in base64 for URLs": lambda text: _packed_for_urls(f"{USER}:{text}"),
    "in base64 in a path": lambda text: quote(_packed(text), safe=""),
    "in base64 over lines": lambda text: _wrapped(11, "\r\n")(_packed(text)),
    "in hexadecimal": lambda text: text.encode().hex(),
    "over lines": _wrapped(9),
    "over lines, as Windows ends them": _wrapped(9, "\r\n"),
    "over lines, in JSON": lambda text: json.dumps(_wrapped(9)(text))[1:-1],
    "over lines, amid an escape": lambda text: _wrapped(8)(quote(text, safe="")),
    "over lines of a page": _wrapped(9, "<br />\n  "),
    "with places to break": "<wbr>".join,
    "with zero-width blanks": "\u200b".join,
    "in a mail": lambda text: (
        quopri.encodestring(_wrapped(9, "=\n")(text).encode()).decode()
        if text.isascii() and "=" not in text
        else _wrapped(9, "=\r\n")(text)
    ),
    "in a mail, line ends made blanks": _wrapped(9, "= "),
    "in a string of source text": _wrapped(9, "\\\n"),
    "spaced out": " ".join,
    "read in the wrong code": lambda text: text.encode().decode("latin-1"),
    "with NULs, as UTF-16 read as ASCII": "\0".join,
}
PLACES = {
    "alone": "{}",
    "in a sentence": "the key is {}, and wrong",
    "in JSON": '{{"headers": {{"x-api-key": "{}"}}}}',
    "in a query": "/login?key={}&next=%2Fhome",
    "in HTML": "<td title='key &amp; more'>{}</td>",
    "at the end": "key: {}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_secret_is_found_in_every_form_and_place(form, place):
    shown = form(SECRET)
    before, _, after = place.format("\0").partition("\0")
    hidden = Mask(SECRET, f"{USER}:{SECRET}").hide(before + shown + after)
    assert hidden.startswith(before)
    assert hidden.endswith(after.lstrip("="))
    assert hidden.removeprefix(before).removesuffix(after) in {"***", "'***'", '"***"', '\\"***\\"'}


@pytest.mark.parametrize("columns", [60, 64, 72, 76])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\t", "=\r\n", "\\n"], ids=repr)
def test_a_long_token_is_found_where_lines_are_folded(columns, end):
    token = f"eyJhbGciOiJSUzI1NiJ9.{'a1b2C3d4-_' * 90}.{'Zz9' * 99}"
    for form in (str, _packed, lambda text: _packed(f"client:{text}")):
        lines = textwrap.wrap(form(token), columns)
        hidden = Mask(token, f"client:{token}").hide(f"seen: {end.join(lines)} :end")
        assert hidden in {"seen: *** :end", "seen: ***= :end"}  # padding tells nothing


@pytest.mark.parametrize("before", range(7))
def test_base64_of_a_longer_text_keeps_only_what_is_around(before):
    packed = _packed("x" * before + SECRET + "yy")
    first, _, last = Mask(SECRET).hide(packed).partition("***")
    assert packed.startswith(first)
    assert packed.endswith(last)
    assert len(first) <= 8 * before // 6  # characters that tell of nothing else
    assert len(last) <= len("5eQ==")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("the reply reads: Pl/ant+e...", "the reply reads: ***..."),
        ('expected "Pl/ant+...", found "x"', 'expected "***...", found "x"'),
        ("key Pl%2Fant%2Bed%3...", "key ***%3..."),
        ("key Pl%2Fant%2Bed\u2026 and more", "key ***\u2026 and more"),
        ("key Pl/...", "key Pl/..."),
        ("key Pl/ant+ed= and more", "key Pl/ant+ed= and more"),
    ],
    ids=["at the end", "amid a text", "amid an escape", "one sign", "too short", "not cut"],
)
def test_the_beginning_of_a_secret_is_hidden_where_a_text_was_cut(text, hidden):
    assert Mask(SECRET).hide(text) == hidden


def test_what_is_too_short_would_blot_out_half_of_every_text_and_is_left():
    short = "abcde"
    assert (len(short), len("abcdef")) == (SHORTEST_HIDDEN - 1, SHORTEST_HIDDEN)
    assert Mask(short, "abcdef", "").hide("abcde abcdef") == "abcde ***"
    assert Mask("%41%42%43").hide("ABC") == "ABC"  # what it would be, undone


def test_a_text_without_secrets_stays_as_it_is():
    text = 'at 100%: "a\\u0041" &amp; \ud800 \udc80 b = c\n'
    for mask in (Mask(), Mask(""), Mask("another"), Mask(SECRET)):
        assert mask.hide(text) is text
    assert Mask("another").hide(f"\udc80{text}another") == f"\udc80{text}***"


def test_secrets_within_one_another_and_side_by_side_are_hidden_whole():
    assert Mask("abcdef", "abcdefghi", "xyzxyz").hide("abcdefghi abcdef-xyzxyz") == "*** ***-***"
    assert Mask("abcabc").hide("abcabcabc") == "***abc"


def test_bytes_in_whatever_code_are_kept():
    assert Mask("abcdef").hide_bytes(b"\xff\xfeabc\ndef\xed\xb2\x80") == b"\xff\xfe***\xed\xb2\x80"
    assert Mask("abcdef").hide_bytes("-abcdef".encode("utf-16-le")).count(b"a") == 0


ENCODINGS: list[Callable[[str], str]] = [
    quote_plus,
    _small_digits,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", r"\/"),
    html.escape,
    lambda text: "".join(f"&#x{ord(c):x};" for c in text),
]
SECRETS = st.text(
    st.characters(
        min_codepoint=33,
        max_codepoint=0x1F600,
        exclude_categories=["C", "Z"],
        exclude_characters="\u2318",
    ),
    min_size=SHORTEST_HIDDEN,
    max_size=40,
)


@given(
    secret=SECRETS,
    is_packed=st.booleans(),
    encodings=st.lists(st.sampled_from(ENCODINGS), max_size=3),
    columns=st.integers(5, 80),
    end=st.sampled_from(["", "\n", "\r\n", "\n\t"]),
)
def test_encodings_within_one_another_hide_no_secret(secret, is_packed, encodings, columns, end):
    shown = _packed(secret) if is_packed else secret
    for encode in encodings:
        shown = encode(shown)
    if end:
        shown = end.join(shown[at : at + columns] for at in range(0, len(shown), columns))
    assert Mask(secret).hide(f"\u2318{shown}\u2318") == "\u2318***\u2318"


@given(secret=SECRETS, text=st.text(st.sampled_from("a%4&#1;x\\u0= \n.<br>/+"), max_size=60))
def test_no_text_makes_it_fail_and_what_is_hidden_stays_so(secret, text):
    mask = Mask(secret)
    hidden = mask.hide(f"{text}{secret}{text}")
    assert secret not in hidden
    assert "***" in hidden


def _steps(act: Callable[[], object]) -> int:
    """Calls, also of what is written in C: what a text costs, on however busy a machine."""
    steps = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return steps


HOSTILE = {
    "words": "the quick brown fox ",
    "escapes": "%41%5c\\u0041&amp;",
    "nested": "%25252525252541",
    "half escapes": "%\\u&#&",
    "blanks": " \n \r\n ",
    "tags": "<br><br <wbr ",
    "beginnings of the secret": SECRET[:SHORTEST_PART] * 5,
    "almost the secret": SECRET[:-1],
    "cut ones": f"{SECRET[:9]}... ",
    "dots": "......... . .. ...",
    "the secret": f"{SECRET} ",
    "the secret, encoded": quote(SECRET),
    "base64": "NDQwNTY6UGwv",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_longer_text_costs_in_proportion(piece):
    mask = Mask(SECRET, f"{USER}:{SECRET}")
    some, more = (
        _steps(lambda text=(piece * 9_999)[:size]: mask.hide(text)) for size in (8_000, 32_000)
    )
    assert more <= 4.5 * some + 500
    assert more <= 40 * 32_000  # calls for each character, at the worst


def test_encodings_are_undone_only_so_deep():
    shown = SECRET
    for _ in range(MAX_NESTED):
        shown = quote(shown, safe="")
    assert Mask(SECRET).hide(shown) == "***"
    assert Mask(SECRET).hide(quote(shown, safe="")) != "***"
