from base64 import b64decode

import pytest
from pydantic import SecretStr

from pipeline.model import ConfigError
from pipeline.sign_in.auth import authorization
from pipeline.vendors.kit.contract import Basic, Bearer


@pytest.mark.parametrize(
    ("user", "password", "pair"),
    [
        ("44056", "key", b"44056:key"),
        ("44056", "a:b", b"44056:a:b"),  # only the first colon parts the two
        ("44056", "", b"44056:"),  # the vendor's to refuse
        ("müller", "pä€", "müller:pä€".encode()),  # RFC 7617 names UTF-8
        ("44056", "x" * 200, b"44056:" + b"x" * 200),  # no line is folded in
    ],
)
def test_the_pair_is_carried_as_it_is(user, password, pair):
    scheme, coded = authorization(Basic(user, SecretStr(password))).split(" ")
    assert scheme == "Basic"
    assert b64decode(coded) == pair


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("a:b", "hush", "colon"),  # it would part the pair elsewhere
        ("44\n056", "hush", "user name holds control"),
        ("44056", "hush\n", "line end at the end of a file"),  # `echo key > file`
        ("44056", "hu\x7fsh", "password or key holds control"),
    ],
)
def test_what_basic_cannot_carry_is_refused_without_showing_it(user, password, words):
    with pytest.raises(ConfigError, match=words) as refused:
        authorization(Basic(user, SecretStr(password)))
    assert "hush" not in str(refused.value)


def test_no_repr_shows_a_password():
    value = Basic("44056", SecretStr("open sesame"))
    assert "sesame" not in repr(value) + str(value)


def test_a_token_is_carried_as_it_is():
    assert authorization(Bearer(SecretStr("eyJ0.e-_~+/=="))) == "Bearer eyJ0.e-_~+/=="
    assert authorization(None) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "hush hush",
        "Bearer hush",  # the scheme is ours to write
        "hush\r\nX-Evil: 1",  # would add a header
        "hush-é",
    ],
)
def test_what_cannot_be_a_token_is_refused_without_showing_it(token):
    with pytest.raises(ConfigError, match="without the word Bearer") as refused:
        authorization(Bearer(SecretStr(token)))
    assert "hush" not in str(refused.value)
