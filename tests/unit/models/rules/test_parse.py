"""The rules document: what it may say, and what a wrong one is told."""

from __future__ import annotations

import msgspec
import pytest

from models.rules.document import Document, Pin, Selector, Shown, Weight, age_ms, as_plain, version_of
from models.rules.lines import lines_of
from models.rules.parse import MAX_BYTES, RulesError, parse

WHOLE = """
list_size = 5
exploration = 0.2
deny = ["d1", "d2"]

[filters]
categories = ["Shoes", "Hats"]
not_tags = ["gift"]
price_min = 1
price_max = 99.5
available = true
age_max = "90d"

[[pins]]
item = "p"
place = 2

[[boosts]]
tags = ["new"]
factor = 1.5

[[buries]]
items = ["b"]
factor = 0.5

[caps]
Shoes = 2
"*" = 3

[diversity]
strength = 0.3

[repeats]
default = "after 7d"
purchase = "never"

[shown]
not_again_within = "2h"
decay = 0.9
"""


def test_every_table_is_read() -> None:
    assert parse(WHOLE) == Document(
        list_size=5,
        exploration=0.2,
        deny=("d1", "d2"),
        filters=Selector(
            categories=("Shoes", "Hats"),
            not_tags=("gift",),
            price_min=1.0,
            price_max=99.5,
            available=True,
            age_max="90d",
        ),
        pins=(Pin("p", 2),),
        boosts=(Weight(factor=1.5, tags=("new",)),),
        buries=(Weight(factor=0.5, items=("b",)),),
        caps={"Shoes": 2, "*": 3},
        diversity=parse("diversity.strength = 0.3").diversity,
        repeats={"default": "after 7d", "purchase": "never"},
        shown=Shown("2h", 0.9),
    )


def test_an_empty_document_has_no_rules() -> None:
    assert parse("") == Document()
    assert as_plain(parse("# nothing\n")) == {}


def test_a_document_survives_its_plain_form() -> None:
    document = parse(WHOLE)
    assert msgspec.convert(as_plain(document), Document) == document


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = \n", "line 1: this is not TOML, column 5: Invalid value; correct the line"),
        ("x = 1\nx = 2", "line 2: this is not TOML"),
        ('a = "', "line 1: this is not TOML"),
        ("lst_size = 3", "line 1: lst_size: no such key; did you mean list_size? known are list_size, exploration"),
        ("[filters]\n\nctegories = ['a']", "line 3: filters.ctegories: no such key; did you mean categories?"),
        ("[[boosts]]\nfactor=2\ntags=['a']\n[[boosts]]\nfactor=2\ntag=['a']", "line 6: boosts[2].tag: no such key"),
        ("[filters]\nitems = ['a']", "line 2: filters.items: no such key"),
        ("\nlist_size = true", "line 2: list_size: must be a whole number, got"),
        ("deny = [\n'a',\n  # why\n  2]", "line 4: deny[2]: must be text in quotes, got"),
        ("[caps]\na = 1\nb = 'x'", "line 3: caps.b: must be a whole number"),
        ("[[pins]]\nitem = 'a'", "line 1: pins[1]: this misses the required field `place`"),
        ("pins = 3", "line 1: pins: must be a list in brackets"),
        ("list_size = 0", "line 1: list_size=0: must be between 1 and 600"),
        ("list_size = 601", "must be between 1 and 600"),
        ("exploration = 1.0", "line 1: exploration=1.0: must be at least 0 and below 1"),
        ("exploration = nan", "line 1: exploration=nan: must be at least 0 and below 1"),
        ("[diversity]\nstrength = 1", "line 2: diversity.strength=1.0: must be above 0 and below 1"),
        ("[filters]\nprice_min = 9\nprice_max = 3", "line 2: filters.price_min: 9 is above price_max 3"),
        ("[filters]\nprice_min = -1", "line 2: filters.price_min: -1.0; must be a number from 0 on"),
        ("[filters]\nprice_max = inf", "line 2: filters.price_max: inf; must be a number from 0 on"),
        ("[filters]\nage_max = '7'", "line 2: filters.age_max: '7': must be a whole number and d, h, m or s"),
        ("[filters]\nage_min = '9d'\nage_max = '9h'", "line 2: filters.age_min: 9d is above age_max 9h"),
        ("[filters]\navailable = false", "line 2: filters.available: no list shows an unavailable item"),
        ("[filters]\ntags = ['a']\nnot_tags = ['a']", "line 3: filters.not_tags: 'a' is in tags too"),
        ("deny = ['a']\nallow = [\n 'b',\n 'a']", "line 4: allow[2]: 'a' is allowed here and denied by deny"),
        ("deny = ['a']\n[[pins]]\nplace = 1\nitem = 'a'", "line 4: pins[1].item: 'a' is pinned here and denied"),
        ("deny = ['a']\n[[boosts]]\nfactor = 2\nitems = ['a']", "line 4: boosts[1].items[1]: 'a' is boosted here"),
        ("pins = [{item='a', place=1},\n {item='b', place=1}]", "line 2: pins[2].place: 1 is the place of pins[1]"),
        ("pins = [{item='a', place=1},\n {item='a', place=2}]", "line 2: pins[2].item: 'a' is pinned by pins[1]"),
        ("list_size = 3\n[[pins]]\nitem = 'a'\nplace = 4", "line 4: pins[1].place: 4; must be between 1 and the"),
        ("[[pins]]\nitem = 'a'\nplace = 0", "line 3: pins[1].place: 0; must be between 1"),
        ("[[pins]]\nitem = 'a'\nplace = 11", "line 3: pins[1].place: 11; must be between 1 and the list's size, 10"),
        ("allow = ['b']\n[[pins]]\nitem = 'a'\nplace = 1", "line 3: pins[1].item: 'a' is not in allow"),
        ("[[boosts]]\ntags = ['a']\nfactor = 0.5", "line 3: boosts[1].factor: 0.5; must be above 1"),
        ("[[buries]]\ntags = ['a']\nfactor = 0", "line 3: buries[1].factor: 0; must be from 0.001 on, below 1"),
        ("[[boosts]]\ntags = ['a']\nfactor = nan", "line 3: boosts[1].factor: nan; must be above 1"),
        ("[[boosts]]\nfactor = 2", "line 1: boosts[1]: selects every item"),
        ("[caps]\nShoes = 0", "line 2: caps.Shoes=0: must be at least 1; to show none, put the category into"),
        ("[repeats]\nview = 'sometimes'", "line 2: repeats: view='sometimes' must be never, always, or after"),
        ("deny = ['']", "line 1: deny[1]: 0 characters; must be 1 to"),
        ("x = " + "[" * 5_000, "line 1: "),
    ],
)  # fmt: skip
def test_a_wrong_document_is_told_where_and_what_to_do(text: str, told: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse(text, 10)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_document_beyond_a_record_is_refused() -> None:
    with pytest.raises(RulesError, match=f"limit {MAX_BYTES}"):
        parse("# " + "é" * MAX_BYTES)


def test_too_many_weights_are_refused() -> None:
    with pytest.raises(RulesError, match="201 boosts and buries, limit 200"):
        parse("[[boosts]]\nfactor = 2\ntags = ['a']\n" * 201)


def test_lines_of_tables_keys_and_entries() -> None:
    text = (
        "# a comment with [brackets] = \"and\" 'quotes'\n"
        "a = [1,\n  [2, 3],\r\n  {x = 1}, # more ]\n  4]\n"
        '[t."b c"]\nd.e = """\n]\n\'"""\n'
        "[[u]]\n[u.v]\nk = 1\n[[u]]\n[u.v]\nk = 2\n"
    )
    lines = lines_of(text)
    assert [lines["a", place] for place in range(4)] == [2, 3, 4, 5]
    assert (lines["t", "b c"], lines["t", "b c", "d", "e"]) == (6, 7)
    assert (lines["u", 0], lines["u", 0, "v", "k"], lines["u", 1], lines["u", 1, "v", "k"]) == (10, 12, 13, 15)


@pytest.mark.parametrize(("text", "ms"), [("1s", 1_000), ("90m", 5_400_000), ("36h", 129_600_000), ("7d", 604_800_000)])
def test_ages(text: str, ms: int) -> None:
    assert age_ms(text) == ms


@pytest.mark.parametrize("text", ["", "7", "0d", "-1d", "7 d", "1.5h", "7w", "9999999999d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        age_ms(text)


def test_a_version_names_the_text() -> None:
    assert version_of("a = 1") != version_of("a = 2")
    assert len(version_of("")) == 12


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[shown]\n", "line 1: shown: needs not_again_within, decay or both"),
        ('[shown]\nnot_again_within = "soon"\n', "line 2: shown.not_again_within: 'soon': must be a whole number and"),
        ("[shown]\ndecay = 1.0\n", "line 2: shown.decay=1.0: must be above 0 and below 1"),
        ("[shown]\ndecay = 0\n", "line 2: shown.decay=0.0: must be above 0 and below 1"),
        ("[shown]\ntwice = 1\n", "line 2: shown.twice: no such key"),
    ],
)
def test_what_was_shown_is_refused_with_line_and_remedy(text: str, told: str) -> None:
    with pytest.raises(RulesError) as refused:
        parse(text)
    assert told in str(refused.value)
