"""What replies mean is read of what came; its words are without secrets."""

import json
from dataclasses import replace

import pytest

from pipeline.doctor.judge import judge_reply
from pipeline.http_client.masking import Mask
from pipeline.model import Answer, Effect, NoReply, Reply, Verdict
from pipeline.vendors.kit.classify import classify_read, without_secrets
from pipeline.vendors.kit.contract import Probe, Probed
from pipeline.workers.answers import update_answers
from tests.acme import Price
from tests.http_client.test_masking import FORMS, SECRET, USER
from tests.workers.drive import ACCOUNT

HIDE = Mask(SECRET, f"{USER}:{SECRET}").hide
(OPERATION,) = ACCOUNT.vendor.operations
TEXTS = ("code", "message", "hint", "request_id", "receipt")


def _answers(answer: Answer, reply: Reply | NoReply) -> tuple[list[object], Answer]:
    """What `decode` was given, and what became of the answer that it gave."""
    given: list[object] = []

    def decode(_settings: object, _jobs: object, reply: object) -> tuple[Answer]:
        given.append(reply)
        return (answer,)

    operation = replace(OPERATION, decode=decode)
    (found,) = update_answers(operation, ACCOUNT.settings, [Price(sku="a", cents=995)], reply)
    return given, found


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("text", TEXTS)
def test_a_vendor_decodes_what_came_and_no_text_of_its_answer_shows_a_secret(text, form):
    reply = Reply(422, {"x-request-id": SECRET}, form(SECRET).encode(), hide=HIDE)
    decoded = Answer(Verdict.REJECTED, Effect.NONE, 422, **{text: f"({form(SECRET)})"})
    given, found = _answers(decoded, reply)
    assert given == [reply]
    assert given[0] is reply
    assert "***" in getattr(found, text)
    assert len(getattr(found, text)) <= len('(\\"***\\")')
    assert found._replace(**{text: getattr(decoded, text)}) == decoded


def test_what_was_lost_has_words_of_its_own_and_a_success_stays_as_it_is():
    lost = NoReply("timeout", "no answer within 30 s", may_have_arrived=True)
    words = Answer(Verdict.TRANSIENT, Effect.MAYBE, message=lost.detail)
    assert _answers(words, lost) == ([lost], words)
    applied = Answer(Verdict.OK, Effect.APPLIED, 204)
    assert without_secrets(applied, HIDE) is applied


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 429, 500])
def test_a_read_and_the_doctor_show_none(status):
    echo = json.dumps({"message": f"no: {SECRET}", "title": SECRET})
    headers = {"location": f"/login?key={FORMS['in a path'](SECRET)}"}
    for body in (echo.encode(), f"you said {SECRET} and more".encode()):
        reply = Reply(status, headers, body, hide=HIDE)
        assert SECRET not in repr(classify_read(reply))
        assert "Pl%2F" not in repr(classify_read(reply))
        finding = judge_reply(ACCOUNT, reply)
        shown = finding.what + finding.fix
        assert not any(part in shown for part in ("Pl/ant", "Pl%2F"))
        if status >= 300:
            assert "***" in finding.what


def test_what_a_vendor_says_of_its_probe_is_hidden_as_well():
    probe = Probe(
        request=lambda _settings: None,
        judge=lambda _settings, reply: Probed(reply.body.decode(), f"use {SECRET}", is_fault=True),
    )
    account = replace(ACCOUNT, vendor=replace(ACCOUNT.vendor, probe=probe))
    finding = judge_reply(account, Reply(400, {}, f"no {SECRET}".encode(), hide=HIDE))
    assert (finding.what, finding.fix) == ("no ***", "use ***")
