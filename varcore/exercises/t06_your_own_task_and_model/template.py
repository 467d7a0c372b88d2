"""Templates of tutorial 6: the one of the tiny models, and one whose markers any text can spell."""

from varcore.llm.templates import Markers, Template
from varcore.llm.tiny import tiny_tokenizer


class _Shared(Template):
    """Not copied: a check copies its arguments for every call, and a tokenizer takes longer to copy than to use."""

    def __deepcopy__(self, memo):
        return self


TEMPLATE = _Shared(tiny_tokenizer(), Markers())
SPELLED = _Shared(TEMPLATE.tokenizer, Markers(trace_close=" = OK", answer_close=" = 9"))  # two tokens each
