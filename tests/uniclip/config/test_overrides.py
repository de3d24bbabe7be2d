"""Words of the command line: the grammar, text as it stands, remedies that a shell accepts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.refusals import refused
from uniclip.config import overrides
from uniclip.config.overrides import (
    TEXT,
    TEXT_OR_LIST,
    LiteralOverride,
    ValueForms,
    parse_overrides,
)
from uniclip.errors import UserError

plain_values = st.one_of(
    *(st.from_regex(p, fullmatch=True) for p in (overrides.SIMPLE_WORD, overrides.SIMPLE_NUMBER))
)


# ---- the grammar of values -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=3", 3),
        ("a=-2", -2),
        ("a=1e-3", 1e-3),
        ("a=true", True),
        ("a=null", None),
        ("a=word", "word"),
        ("a=none", "none"),
        ("a='two words'", "two words"),
        ("a=two words", "two words"),
        ("a='1'", "1"),
        ("a=", ""),
        ("a=[1,2.5,x]", [1, 2.5, "x"]),
        ("a=['1',[2]]", ["1", [2]]),
        ("a={b:1,c:'d'}", {"b": 1, "c": "d"}),
        ("a=pictures/my-file_1.csv", "pictures/my-file_1.csv"),
        ("a=/tmp/x.csv", "/tmp/x.csv"),
        ("a=0.9", 0.9),
    ],
)
def test_values_are_read_by_their_form(word: str, value: Any) -> None:
    read = parse_overrides([word])
    assert read == {"a": value}
    assert type(read["a"]) is type(value)
    assert type(parse_overrides(["a='1'"])["a"]) is str


def test_keys_may_be_dotted_and_keep_their_order() -> None:
    assert list(parse_overrides(["train.steps=3", "data=csv", "data.path=x.csv"])) == [
        "train.steps",
        "data",
        "data.path",
    ]


@pytest.mark.parametrize(
    "word",
    [
        "+train.steps=3", "++train.steps=3", "~train.steps", "~train.steps=3", "data@other=csv",
        "train.steps=1,2", "train.steps=range(1,3)", "train.steps=choice(1,2)",
        "train.steps=glob(*)", "train.steps", "a==2", "a=fo(1", "a=[1", ".a=1", "a.=1", "a b=1",
        "=1", "", "a={b", "a='x",
    ],
)  # fmt: skip
def test_other_forms_are_refused_in_one_line(word: str) -> None:
    refused(".", parse_overrides, [word])
    with pytest.raises(UserError, match=re.escape(repr(word))):
        parse_overrides([word])


def test_a_word_that_is_not_utf8_is_refused_in_one_line() -> None:
    """Records are JSON: a folder of such a name could be written, and not read again."""
    with pytest.raises(UserError, match=r"^b'store=/data/\\xff' is not valid UTF-8"):
        parse_overrides([os.fsdecode(b"store=/data/\xff")])


@pytest.mark.parametrize("text", ["it's", "${HOME} ~", " a ", "null", "[1]", "back\\slash\\"])
def test_a_literal_override_is_not_parsed(text: str) -> None:
    assert parse_overrides([LiteralOverride(f"store={text}")]) == {"store": text}


def test_a_key_is_given_once() -> None:
    refused("train.steps is given twice", parse_overrides, ["train.steps=3", "train.steps=3"])
    words = ["data.path=0.tar", "data.path=1.tar"]
    refused("data.path is given twice; if you wrote braces, .* quote them", parse_overrides, words)
    forms = {"data.path": TEXT}
    message = 'got a list; .*; join several paths with "::": .data.path=a::b c.$'
    refused(message, parse_overrides, ["data.path=[a, b c]"], forms)


# ---- shortcuts -----------------------------------------------------------------------------------


@given(st.from_regex(overrides.SIMPLE_KEY, fullmatch=True), plain_values)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_plain_words_are_what_the_grammar_makes_of_them(key: str, value: str) -> None:
    plainly = overrides._parse_simple_override(f"{key}={value}")
    if plainly is not None:
        assert plainly == overrides._parse_hydra_override(f"{key}={value}")
        assert type(plainly[1]) is type(overrides._parse_hydra_override(f"{key}={value}")[1])


@pytest.mark.parametrize(
    "value", ["true", "NULL", "nan", "Inf", "1e3", "-1", "01", "", "'a'", "[a]"]
)
def test_only_the_grammar_reads_what_is_not_plain(value: str) -> None:
    assert overrides._parse_simple_override(f"a={value}") is None


# ---- keys that hold text -------------------------------------------------------------------------

SHELL_TEXTS: ValueForms = {"texts": frozenset({"texts", "shell"}), "text": TEXT}
FORMS: ValueForms = {"path": TEXT, "names": TEXT_OR_LIST, "steps": frozenset()}
ODD_TEXTS = [
    "/home/josé/c.csv", "/a(1)/c.csv", "/a [b]/c.csv", "/數據/c.csv", "a#b", "a&b", "a;b", "a!b",
    "a,b", "a=b", "it's", 'say "x"', "~x", "a~b", "{a", "[a", "a]", "'a", "2024", "1e3", "007",
    "true", "nan", "$HOME", "a b", "a:b", "*.csv", "choice(1,2)", "range(1,3)", "50%", "a\\b", "",
    "'it's'",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_key_that_holds_text_takes_its_word_as_it_stands(text: str) -> None:
    assert parse_overrides([f"path={text}"], FORMS) == {"path": text}
    if "," not in text and text:
        assert parse_overrides([f"names=[{text},b]"], FORMS) == {"names": [text, "b"]}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("path=null", None),
        ("path='2024'", "2024"),
        ('path="[a]"', "[a]"),
        (r"path=/a\(1\)/c", "/a(1)/c"),
        ("path= a ", "a"),
        ("path={a: 1}", {"a": 1}),
        ("names=a", "a"),
        ("names=[]", []),
        ("names=['a,b', c]", ["a,b", "c"]),
        ("names=[csv:/a(1)/x.csv, 2024]", ["csv:/a(1)/x.csv", "2024"]),
        ("names=[[a,b],c]", [["a", "b"], "c"]),
        ("steps=3", 3),
        ("steps=fo(1", "fo(1"),
        ("unknown=a(1)/b", "a(1)/b"),
    ],
)
def test_quotes_lists_and_null_are_read(word: str, value: Any) -> None:
    assert parse_overrides([word], FORMS) == {word.partition("=")[0]: value}


def test_the_home_folder_and_environment_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STEPS", "12")
    monkeypatch.delenv("NOWHERE", raising=False)
    words = ["path=~/c.csv", "names=[csv:~/d.csv,${oc.env:HOME}/e]", "steps=${oc.env:STEPS}"]
    assert parse_overrides(words, FORMS) == {
        "path": f"{tmp_path}/c.csv",
        "names": [f"csv:{tmp_path}/d.csv", f"{tmp_path}/e"],
        "steps": 12,
    }
    assert parse_overrides(["path=${oc.env:NOWHERE,x}"], FORMS) == {"path": "x"}
    with pytest.raises(UserError, match="the environment variable NOWHERE is not set"):
        parse_overrides(["path=${oc.env:NOWHERE}/st"], FORMS)
    for word in ("path=${HOME}/st", "names=[a,${HOME}/x]", "path=${nothing:a}", "path=${"):
        with pytest.raises(UserError, match=r"let the shell fill in variables") as caught:
            parse_overrides([word], FORMS)
        assert "\n" not in str(caught.value)
    commands = {"texts": ["cp $A ${TMPDIR}/x", "~/setup"], "text": "$A"}
    words = ["texts=[cp $A ${TMPDIR}/x,~/setup]", "text=$A"]
    assert parse_overrides(words, SHELL_TEXTS) == commands


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=fo(1)", "fo(1)"),
        ("a=josé", "josé"),
        ("a=1,2", "1,2"),
        ("a=it's", "it's"),
        ("a='x", "'x"),
        ("a=[a(1),b]", ["a(1)", "b"]),
        ("a={comment: a(1), n: 2}", {"comment": "a(1)", "n": 2}),
        ('a="$x"y', '"$x"y'),
        ("a=`x`!", "`x`!"),
        ("path=[a]", "[a]"),
    ],
)
def test_the_remedy_of_a_message_works_in_a_shell(word: str, value: Any) -> None:
    """What the message says to write is given to a shell, and is then read as it was meant."""
    with pytest.raises(UserError) as caught:
        parse_overrides([word], FORMS if word.startswith("path=") else None)
    remedy = re.split("write |comma is ", str(caught.value))[-1]
    shell = subprocess.run(["bash", "-c", f"printf %s {remedy}"], capture_output=True, text=True)
    key = word.partition("=")[0]
    assert parse_overrides([shell.stdout], FORMS if key == "path" else None) == {key: value}


@given(st.text(st.characters(exclude_categories=["C"]), max_size=12))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_formatted_override_is_read_back(text: str) -> None:
    if "${" not in text and not text.startswith("~"):
        word = overrides.format_override("path", text)
        assert parse_overrides([word], FORMS) == {"path": text}
        names = [text, "b"]
        word = overrides.format_override("names", names)
        assert parse_overrides([word], FORMS) == {"names": names}
