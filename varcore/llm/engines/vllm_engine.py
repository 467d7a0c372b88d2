"""vLLM in this machine's own memory: fast sampling from a saved model folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from varcore.llm.engines.drafts import Draft, EngineError, check_vllm_settings, saved_dtype
from varcore.llm.engines.serving import read_adapter, start_options
from varcore.llm.sampling import Request, Sample, check_requests
from varcore.llm.templates import Ids


class VLLMSampler:
    """Draws with a vLLM engine.  Ids and log-probabilities come as drawn; requests are independent of each other.

    The same requests give the same samples again on the same engine, up to the rounding of other batches.

    Args:
        engine: from `open_engine`.
        adapter: folder of the LoRA adapter to draw with; the engine was opened for adapters of its rank.
        temperature, max_tokens, stop, advance: as for TransformersSampler; temperature from 0.01 to 2.
    """

    def __init__(
        self,
        engine: Any,
        *,
        temperature: float,
        max_tokens: int,
        stop: Ids,
        adapter: Path | None = None,
        advance: Callable[[int], None] = lambda finished: None,
    ):
        check_vllm_settings(temperature, max_tokens, stop)
        self.engine, self.advance = engine, advance
        self.adapter = read_adapter(adapter) if adapter else None
        self.temperature, self.max_tokens, self.stop = temperature, max_tokens, stop

    def sample(self, requests: Sequence[Request]) -> list[Sample]:
        """One sample per request, in order.

        Raises ValueError for a request that cannot be met, EngineError if the engine dies.
        """
        from vllm.v1.engine.exceptions import EngineDeadError  # pyright: ignore[reportMissingImports]

        shape = self.engine.model_config
        check_requests(requests, self.max_tokens, shape.max_model_len, shape.get_vocab_size())
        settings = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop}
        drafts = [Draft(request, **settings) for request in requests]
        running = {str(index): draft for index, draft in enumerate(drafts)}
        try:
            for name, draft in running.items():
                self._submit(name, draft)
            while running:
                self._step(running)
        except EngineDeadError as error:
            raise EngineError(
                "The vLLM engine died; what it said is above (VLLM_LOGGING_LEVEL=INFO shows more). Mend that, often "
                "memory, and repeat the command: a run continues where it was."
            ) from error
        except BaseException:  # Ctrl-C too: the next call is not to meet the leftovers of this one
            self.engine.abort_request(list(running))
            raise
        return [draft.sample() for draft in drafts]

    def _submit(self, name: str, draft: Draft) -> None:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
        from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

        only_the_end = RequestOutputKind.FINAL_ONLY
        parameters = SamplingParams(**draft.parameters, detokenize=False, output_kind=only_the_end)
        adapter = self.adapter and LoRARequest(self.adapter.name, self.adapter.number, str(self.adapter.folder))
        self.engine.add_request(name, {"prompt_token_ids": draft.prompt}, parameters, lora_request=adapter)

    def _step(self, running: dict[str, Draft]) -> None:
        """One step of the engine; what it finishes leaves `running` or goes on with its next segment."""
        for output in self.engine.step():
            name, drawn = output.request_id, output.outputs[0]
            draft = running[name]
            draft.extend(
                drawn.token_ids, [step[id_].logprob for step, id_ in zip(drawn.logprobs, drawn.token_ids, strict=True)]
            )
            if draft.finished:
                del running[name]
                self.advance(1)
            else:
                self._submit(name, draft)


def open_engine(model: str | Path, *, lora_rank: int = 0, **options: Any) -> Any:
    """A vLLM engine (`vllm.LLMEngine`) on the model saved in a folder, in the dtype that it was saved in.

    With `lora_rank` it draws with adapters of that rank or less over the model, each read when it is first drawn with.

    `options` are those of vLLM's EngineArgs, such as ``gpu_memory_utilization=0.4`` or ``tensor_parallel_size=2``.
    Close it with `close_engine`: it runs in processes of its own and holds most of the GPU's memory.
    Raises EngineError if vLLM is not installed or cannot start.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing leaves this machine
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm import EngineArgs, LLMEngine  # pyright: ignore[reportMissingImports]
        from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise EngineError(f"The engine vllm cannot be loaded: {error}. {INSTALL}") from error
    arguments = {
        **start_options(saved_dtype(model), lora_rank, on_cpu=current_platform.is_cpu()),
        "generation_config": "vllm",
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "seed": 0,
        **options,
    }
    try:
        return LLMEngine.from_engine_args(EngineArgs(model=str(model), **arguments))
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"vLLM could not start on {model}: {error}. What it said above names the cause: often too little free "
            f"memory, or a build for another device. {INSTALL}"
        ) from error


def close_engine(engine: Any) -> None:
    """End the engine's processes and free their memory."""
    engine.engine_core.shutdown()


INSTALL = "On a GPU: pip install 'varcore[vllm]'. On a CPU: make vllm, then .venv-vllm/bin/varcore."
