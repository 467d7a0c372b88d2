"""The tokenizer of tutorial 5, and the ids of its markers."""

from varcore.llm.tiny import END_HINT, END_THINK, HINT, IM_END, THINK, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
_VOCABULARY = TOKENIZER.get_vocab()
THINK_ID, CLOSE_ID, HINT_ID, END_HINT_ID, END_ID = (
    _VOCABULARY[marker] for marker in (THINK, END_THINK, HINT, END_HINT, IM_END)
)
