"""Every rule of rules.py, by the pure machine: bytes in, frames out."""

from __future__ import annotations

import pytest

import http2 as h2
from http2_machine import Driven
from http2_rules import RULES, Rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.section} {rule.name}")
@pytest.mark.parametrize("cut", [0, 1, 7], ids=["whole", "bytewise", "by sevens"])
def test_rule(rule: Rule, cut: int) -> None:
    driven = Driven(answers=not rule.held)
    data = rule.preface + rule.sent
    driven.feed(*([data] if not cut else [data[at : at + cut] for at in range(0, len(data), cut)]))
    what, number = rule.outcome
    if what == "goaway":
        assert driven.gone == number
        driven.feed(h2.get(rule.stream + 2))
        assert driven.gone == number, "it hears no more"
        return
    if what == "reset":
        assert driven.resets[rule.stream] == number
    elif what == "status":
        assert driven.refusals[rule.stream] == number
    else:
        assert rule.stream not in driven.resets
        assert driven.machine.last >= rule.stream
    assert driven.gone is None
    number = driven.machine.last + 2
    driven.feed(h2.get(number))
    assert number in driven.requests or driven.resets[number] == h2.REFUSED_STREAM, "the connection goes on"
