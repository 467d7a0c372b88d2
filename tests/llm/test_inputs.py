"""A run that could not end is refused before its directory is made: nothing written, nothing spent."""

import dataclasses
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from varcore.llm import algorithm
from varcore.llm.inputs import check_inputs
from varcore.llm.presets import Config, override, preset
from varcore.llm.templates import FILES
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.llm.workbench import open_task, worked_questions

SMALL = {
    "task": "own-exact",
    "template": "qwen3-think",
    "num_curated": 8,
    "num_answer_only": 4,
    "num_test": 2,
    "max_trace_tokens": 8,
    "max_answer_tokens": 4,
    "methods": ["sft"],
}


def write_rows(folder: Path, rows: list[dict]) -> None:
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "own-exact.jsonl").write_text(text, encoding="utf-8")


def row(number: int, trace: str = "count") -> dict:
    return {"question": f"{number} + 1 =", "answer": str(number + 1), "trace": trace}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Folders: a model of 370 tokens, and data of 200 questions of which every fourth has a trace."""
    folder, tokenizer = tmp_path_factory.mktemp("own"), tiny_tokenizer()
    model = tiny_qwen3(len(tokenizer), 0, hidden=32, layers=1, heads=2)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_rows(folder / "data", [row(number, "" if number % 4 else "count") for number in range(200)])
    return folder


@pytest.fixture
def config(own) -> Config:
    return override(preset("tiny"), {**SMALL, "model": str(own / "model"), "data": str(own / "data")})


@pytest.fixture
def refused(tmp_path, quiet):
    """Runs settings that must be refused with these words, and looks whether anything was written."""

    def refuse(config: Config, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            algorithm.run(tmp_path / "runs" / "run", config, quiet)
        assert not (tmp_path / "runs").exists()

    return refuse


def test_what_fits_is_not_refused(config, miniature, lenient, miniature_world):
    check_inputs(config)
    check_inputs(miniature())


# ---- data --------------------------------------------------------------------------------------------------------


def test_more_curated_questions_than_worked_traces(config, refused):
    train = open_task(config).questions("train", 150, config.seed, curated=True)
    worked = sum(question.curated_trace is not None for question in train)
    assert 30 < worked < 60
    changed = dataclasses.replace(config, num_curated=150, num_answer_only=0)
    repair = f"num_curated {worked} and num_answer_only {150 - worked} use the others' answers alone"
    refused(changed, rf"150 training questions with a worked trace, and {worked} of these have one\. .*{repair}")
    repaired = dataclasses.replace(config, num_curated=worked, num_answer_only=150 - worked)
    check_inputs(repaired)
    assert [trace for _, trace in worked_questions(train, repaired)] == ["count"] * worked


def test_no_worked_trace_at_all(config, refused, tmp_path):
    write_rows(tmp_path / "bare", [row(number, "") for number in range(60)])
    refused(dataclasses.replace(config, data=str(tmp_path / "bare")), "0 of these have one.*pi_0 learns from them")


def test_too_few_questions_to_train_on_or_to_hold_out(config, refused):
    refused(dataclasses.replace(config, num_answer_only=1000), "1008 train questions were asked for")
    refused(dataclasses.replace(config, num_test=1000), "1000 test questions were asked for")


def test_a_level_with_one_held_out_question(config, refused, miniature, miniature_world):
    """Its interval would fail after everything was trained.  Countdown asks its four levels in turn."""
    refused(miniature(task="countdown", num_test=6), "6 test questions only one is of level 3")
    check_inputs(miniature(task="countdown", num_test=8))


def test_a_task_of_ones_own(config, refused, tmp_path, monkeypatch):
    (tmp_path / "owntask.py").write_text("from varcore.tasks import Chain\n\n\nclass Long(Chain):\n    name = 'long'\n")
    own = dataclasses.replace(config, task="owntask:Long", data="", num_test=6)
    refused(own, r"'owntask:Long' could not be imported.*PYTHONPATH")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_task(own).name == "long"
    check_inputs(own)


def test_data_that_is_not_there(config, refused, tmp_path):
    refused(dataclasses.replace(config, data=str(tmp_path)), r"own-exact\.jsonl")


@pytest.mark.parametrize(("length", "methods"), [(600, ("sft",)), (370, ("vr",))])
def test_a_question_that_does_not_fit_the_context(config, refused, tmp_path, length, methods):
    """The context is 512.  The second fits without the hint, and not with it."""
    rows = [row(number) for number in range(60)]
    rows += [{"question": "x" * length, "answer": "y" * (700 - length), "trace": "count"}]
    write_rows(tmp_path / "long", rows)
    changed = override(config, {"data": str(tmp_path / "long"), "num_curated": 50, "num_answer_only": 0})
    size = open_task(changed).size("train")  # all of them: the long one too, if it is there
    changed = dataclasses.replace(changed, num_curated=size, methods=methods)
    assert any(len(q.text) == length for q in open_task(changed).questions("train", size, 0))
    refused(changed, r"Prompt \d+ has \d+ tokens; .* more than the model's context of 512.*max_trace_tokens")
    if methods == ("vr",):
        check_inputs(dataclasses.replace(changed, methods=("sft",)))


# ---- model, tokenizer, template ----------------------------------------------------------------------------------


def test_a_tokenizer_that_is_not_the_models(config, refused, tmp_path):
    tiny_qwen3(300, 0, hidden=32, layers=1, heads=2).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    changed = dataclasses.replace(config, model=str(tmp_path / "model"))
    refused(changed, r"largest token id is 369, and the model has embeddings for 300 .*Load both from the same folder")


def test_a_tokenizer_without_the_templates_special_tokens(config, refused, tmp_path):
    tiny_qwen3(20, 0, hidden=32, layers=1, heads=2).save_pretrained(tmp_path / "model")
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="a").save_pretrained(tmp_path / "model")
    changed = dataclasses.replace(config, model=str(tmp_path / "model"))
    refused(changed, r"are to be special, and the tokenizer has no token for them.*tokenizer that the model was made")


def test_a_model_without_its_tokenizer(config, refused, tmp_path):
    """transformers makes a tokenizer of one token out of nothing, which turns every text into no tokens."""
    tiny_qwen3(20, 0, hidden=32, layers=1, heads=2).save_pretrained(tmp_path / "model")
    changed = dataclasses.replace(config, model=str(tmp_path / "model"))
    refused(changed, r"no tokenizer that can be read \(it has no vocabulary\).*tokenizer\.json")


def test_a_template_without_its_closing_marker(config, refused, tmp_path):
    lines = (FILES / "qwen3-think.toml").read_text().splitlines()
    (tmp_path / "mine.toml").write_text("\n".join(line for line in lines if not line.startswith("trace_close")))
    changed = dataclasses.replace(config, template=str(tmp_path / "mine.toml"))
    refused(changed, r"mine\.toml: .*missing: \['trace_close'\].*without them no sample ends")


def test_a_model_that_is_not_there_or_a_pickle(config, refused, own, tmp_path):
    nowhere = dataclasses.replace(config, model=str(tmp_path / "nowhere"))
    refused(nowhere, r"nowhere' cannot be read .*config\.json and safetensors files .*--online")
    tiny_tokenizer().save_pretrained(tmp_path / "pickled")
    (tmp_path / "pickled" / "config.json").write_text((own / "model" / "config.json").read_text())
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    changed = dataclasses.replace(config, model=str(tmp_path / "pickled"))
    refused(changed, r"pickled' cannot be read \(it has no file of safetensors\).*pickled weights are not read")
