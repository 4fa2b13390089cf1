"""Labels that a text names, rejects, or does neither with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.text.labels import LabelReader

READER = LabelReader(("billing", "delivery", "account access"))


@pytest.mark.parametrize(
    "text",
    [
        "This is not billing.",
        "not billing",
        "It's not about billing",
        "isn't a billing issue",
        "This isn’t **billing**.",
        'It is not "billing".',
        "It is not the label `billing`",
        "I do not think this is billing.",
        "I'm not sure whether this is billing",
        "This does not belong to the billing team",
        "This should not be routed to billing.",
        "It cannot be billing",
        "can't be billing",
        "never billing",
        "no longer billing",
        "non-billing",
        "There is no billing",
        "nothing to do with billing",
        "anything other than billing",
        "neither billing nor delivery",
        "neither billing, delivery, nor account access",
        "not billing or delivery",
        "not billing and delivery",
        "Not billing/delivery",
        "none of billing, delivery or account access",
        "Billing is wrong.",
        "Billing does not fit",
        "billing isn't right",
        "The billing queue is not the right one",
        "Billing can be ruled out",
        "Billing was ruled out.",
        "Billing is not billing",
        "This is not\nbilling",
        "billing or delivery",
        "billing and, not only, delivery",
        "",
        "billings",
        "rebilling",
    ],
)
def test_no_label(text: str) -> None:
    assert READER.read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Billing",
        "- **Billing**",
        "> billing",
        "_Billing_ it is",
        "the (billing) queue",
        "[billing]",
        "billing-related",
        "the customer's billing",
        "not delivery but billing",
        "Not delivery, but billing.",
        "not delivery, billing",
        "It's not delivery; it's billing.",
        "It is not delivery. Billing.",
        "billing, not delivery",
        "billing (not delivery or account access)",
        "billing instead of delivery",
        "As opposed to delivery: billing",
        "Neither delivery nor account access, so billing",
        "not so much delivery as billing",
        "No. Billing.",
        "No\nBilling",
        "no doubt billing",
        "without a doubt, billing",
        "This is not only billing",
        "It can't be anything but billing",
        "nothing but billing",
        "Why not billing",
        "I did not get my invoice: billing",
        "The customer has not paid, hence billing",
        "The label is not delivery because the parcel arrived; billing",
        "Delivery is wrong, billing is right",
        "Account access does not apply: billing",
        "answer: billing\nreason: the customer has not been charged",
    ],
)
def test_billing(text: str) -> None:
    assert READER.read(text) == "billing"


@pytest.mark.parametrize(
    ("labels", "text", "label"),
    [
        (("urgent", "not urgent"), "NOT URGENT!", "not urgent"),
        (("urgent", "not urgent"), "not\nurgent", "not urgent"),
        (("urgent", "not urgent"), "It is not not urgent", None),
        (("urgent", "not urgent"), "urgent, not not urgent", "urgent"),
        (("non-billing", "billing"), "This is non-billing", "non-billing"),
        (("no", "yes"), "No", "no"),
        (("no", "yes"), "**No**, it does not.", "no"),
        (("no", "yes"), "no doubt: yes", "yes"),
        (("no", "yes"), "yes or no", None),
        (("none", "spam"), "None.", "none"),
        (("none", "spam"), "None of the labels fits", "none"),
        (("none", "spam"), "not spam, so none", "none"),
        (("other", "spam"), "rather other than spam", None),
        (("c", "c++", "c#"), "It is written in C#.", "c#"),
        (("c", "c++", "c#"), "c++", "c++"),
        (("c", "c++", "c#"), "plain C, that is", "c"),
        (("1", "2", "12"), "Label: 12", "12"),
        (("0.5", "5"), "5", "5"),
        (("a b", "a"), "an a  b", "a b"),
        (("set_up", "other"), "Use set_up here", "set_up"),
        (("Überweisung", "Konto"), "keine Überweisung, sondern Konto", "Konto"),
        (("Überweisung", "Konto"), "Das ist nicht Konto.", None),
        (("Überweisung", "Konto"), "weder Überweisung noch Konto", None),
        (("factura", "envío"), "No es una factura, sino un envío", "envío"),
        (("fatura", "entrega"), "não é fatura", None),
        (("fattura", "consegna"), "non è una fattura ma consegna", "consegna"),
        (("factuur", "levering"), "Dit is geen factuur", None),
        (("счёт", "доставка"), "Это не счёт, а доставка", "доставка"),
        (("账单", "配送"), "答案：账单", "账单"),
        (("账单", "配送"), "我觉得这是配送问题", "配送"),
        (("账单", "配送"), "不是账单或配送", None),
        (("账单", "配送"), "是不是账单", "账单"),
        (("請求", "配送"), "これは請求ではありません", None),
        (("청구", "배송"), "이것은 청구가 아닙니다", None),
        (("billing", "账单"), "答案是billing。", "billing"),
        (("الفواتير", "الشحن"), "التصنيف: الشحن", "الشحن"),
        (("बिलिंग", "वितरण"), "उत्तर: बिलिंग।", "बिलिंग"),
    ],
)
def test_other_labels(labels: tuple[str, ...], text: str, label: str | None) -> None:
    assert LabelReader(labels).read(text) == label


@given(st.text(max_size=60), st.sampled_from(["billing", "delivery", ""]), st.text(max_size=60))
def test_any_text_has_one_label_or_none(before: str, name: str, after: str) -> None:
    assert READER.read(before + name + after) in ("billing", "delivery", "account access", None)


@given(st.sampled_from(["billing", "delivery"]), st.sampled_from(["", "a ", "about ", "the "]))
def test_a_negation_turns_a_name_into_none_and_but_turns_to_the_other(
    name: str, article: str
) -> None:
    other = {"billing": "delivery", "delivery": "billing"}[name]
    for negation in ("This is not", "It isn't", "not", "rather than", "instead of", "never"):
        assert READER.read(f"{negation} {article}{name}.") is None
        assert READER.read(f"{negation} {article}{name}, {other}.") == other
        assert READER.read(f"{other}, {negation.lower()} {article}{name}.") == other
