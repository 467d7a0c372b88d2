"""Every published set's columns become questions; what cannot be used is left out with a reason."""

from __future__ import annotations

import pytest
from samples import SAMPLES, gpqa, mmlu, talk

from varcore.tasks.files import DataError
from varcore.tasks.schemas import LETTERS, SCHEMAS, Item, own_schema, sections, text_of, with_options


def items(name: str) -> list[Item | str]:
    return [SCHEMAS[name].convert(row) for row in SAMPLES[name]]


def test_every_schema_has_a_sample_and_reads_only_its_columns():
    assert set(SAMPLES) == set(SCHEMAS)
    for name, schema in SCHEMAS.items():
        for row in SAMPLES[name]:
            only = {column: row[column] for column in schema.columns}
            assert schema.convert(only) == schema.convert(row)


def test_stratos_rows_are_questions_with_a_thought_and_a_solution():
    first, second, program, unstructured = items("bespoke-stratos-17k")
    assert first == Item(
        "A box holds 3 red and 4 blue pens. How many pens?", r"There are \boxed{7} pens.", "", "3 and 4 make 7."
    )
    assert isinstance(second, Item)
    assert program == "no boxed answer: programs and proofs are not verified here"
    assert unstructured == "thought or solution section missing or not closed"


def test_the_authors_reformatted_rows_are_the_same_questions():
    assert items("stratos-reformatted")[0] == items("bespoke-stratos-17k")[0]


def test_a_talk_of_three_turns_is_left_out():
    row = talk("1 + 1?", "2")
    row["conversations"].append({"from": "user", "value": "Sure?"})
    assert SCHEMAS["bespoke-stratos-17k"].convert(row) == "not one question and one response"


def test_sections_must_be_closed_and_in_place():
    text = SAMPLES["bespoke-stratos-17k"][0]["conversations"][1]["value"]
    assert sections(text) == ("3 and 4 make 7.", r"There are \boxed{7} pens.")
    for marker in ("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"):
        assert sections(text.replace(marker, "")) is None
    assert sections("<|end_of_thought|><|begin_of_thought|>") is None


def test_math500_keeps_its_levels():
    assert [item.level for item in items("math500") if isinstance(item, Item)] == ["1", "2", "2", "5"]


def test_whole_numbers_published_as_floats():
    assert items("amc23")[0] == Item("Cleo has 9 coins and gives away a third. How many are left?", "6")
    assert [text_of(value) for value in (27.0, 2.5, 27, " a ", None)] == ["27", "2.5", "27", "a", ""]


def test_olympiad_answers_are_lists():
    single, several, proof, odd = items("olympiadbench")
    assert isinstance(single, Item)
    assert single.reference == "6"
    assert isinstance(several, Item)
    assert several.reference == "0, 3"
    assert proof == "its answer needs a human judge"
    assert odd == "several answers, not said to be a list"


def option(text: str, letter: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{letter}) ")]
    return line.removeprefix(f"{letter}) ")


def test_gpqa_options_are_shuffled_and_the_letter_follows():
    questions = [gpqa(f"Question {n}?", "right", "wrong 1", "wrong 2", "wrong 3") for n in range(80)]
    found = [SCHEMAS["gpqa-diamond"].convert(row) for row in questions]
    for item in found:
        assert isinstance(item, Item)
        assert option(item.text, item.reference) == "right"
        assert sorted(option(item.text, letter) for letter in "ABCD") == ["right", "wrong 1", "wrong 2", "wrong 3"]
    letters = [item.reference for item in found if isinstance(item, Item)]
    # 80 draws of 4 letters: one is missing with probability 4 x 0.75^80 = 4e-10; the draws are fixed by the texts
    assert set(letters) == set("ABCD")
    assert found == [SCHEMAS["gpqa-diamond"].convert(row) for row in questions]


def test_gpqa_rows_that_cannot_be_asked():
    convert = SCHEMAS["gpqa-diamond"].convert
    assert convert(gpqa("Which?", "same", "same", "b", "c")) == "two options are the same"
    assert convert(gpqa("Which?", "a", "b", "c", "")) == "question or option missing"


def test_mmlu_pro_has_up_to_ten_options():
    three, ten = items("mmlu-pro")
    assert isinstance(three, Item)
    assert option(three.text, three.reference) == "12"
    assert three.text.endswith("Answer with one letter, A to C.")
    assert isinstance(ten, Item)
    assert (ten.reference, option(ten.text, "J")) == ("J", "9")


def test_mmlu_pro_rows_that_contradict_themselves_are_an_error():
    row = mmlu(1, "What is 3 times 4?", ["7", "12", "34"], "B")
    with pytest.raises(DataError, match="answer 'B' and answer_index 2 differ"):
        SCHEMAS["mmlu-pro"].convert(row | {"answer_index": 2})
    with pytest.raises(DataError, match="'D' is not one of 3 options"):
        SCHEMAS["mmlu-pro"].convert(row | {"answer": "D"})


def test_own_columns():
    schema = own_schema("mine", "exact", question="q", answer="a", trace="t", level="how hard")
    assert schema.columns == ("q", "a", "t", "how hard")
    row = {"q": " Say blue. ", "a": "blue", "t": "It says blue.", "how hard": 2}
    assert schema.convert(row) == Item("Say blue.", "blue", "2", "It says blue.")
    assert schema.convert(row | {"t": None}) == Item("Say blue.", "blue", "2", None)
    assert schema.convert(row | {"a": None}) == "no answer"
    assert schema.convert(row | {"q": " "}) == "no question"


def test_schemas_declare_where_a_set_is_published():
    for name, schema in SCHEMAS.items():
        assert schema.name == name
        assert schema.hub is not None
        assert schema.hub.count("/") == 1
        assert schema.rows is not None
        assert schema.verifier in ("mathematics", "choice")
        assert sum(len(part) for part in schema.splits.values()) == 100


def test_options_are_lettered_in_order():
    text = with_options("Which?", ["one", "two"])
    assert text == "Which?\n\nA) one\nB) two\n\nAnswer with one letter, A to B."
    assert len(LETTERS) == 10
    with pytest.raises(ValueError, match="zip"):
        with_options("Which?", list("abcdefghijk"))
