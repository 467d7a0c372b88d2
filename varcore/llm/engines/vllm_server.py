"""Sampling over HTTP from `vllm serve`, one replica or several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from varcore.llm.engines.drafts import Draft, check_vllm_settings
from varcore.llm.engines.replicas import Replicas
from varcore.llm.engines.serving import read_adapter
from varcore.llm.sampling import Request, Sample, check_requests
from varcore.llm.templates import Ids

AT_ONCE = 256  # requests under way for each address: as many as vLLM runs side by side


class VLLMServerSampler:
    """Draws from the servers at `urls` that serve `model`; each request is answered once, by whichever lives.

    The same requests give the same samples again, from any replica, up to the rounding of other batches.

    Args:
        urls: such as ``http://127.0.0.1:8000``; see Replicas for what happens when one dies.
        model: the name it is served under: the path given to ``vllm serve``, or its ``--served-model-name``.
        adapter: folder of a LoRA adapter over that model; a server that has not read it yet is told to.
        dtype: for the command that an error names; None is the dtype that the model was saved in.
        temperature, max_tokens, stop, advance: as for TransformersSampler; temperature from 0.01 to 2.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        temperature: float,
        max_tokens: int,
        stop: Ids,
        adapter: Path | None = None,
        dtype: str | None = None,
        advance: Callable[[int], None] = lambda finished: None,
    ):
        check_vllm_settings(temperature, max_tokens, stop)
        self.urls, self.model, self.dtype, self.advance = urls, model, dtype, advance
        self.adapter = read_adapter(adapter) if adapter else None
        self.temperature, self.max_tokens, self.stop = temperature, max_tokens, stop

    def sample(self, requests: Sequence[Request]) -> list[Sample]:
        """One sample per request, in order.

        Raises ValueError for a request that cannot be met, EngineError if no server is left or one cannot be trusted.
        """
        with start_blocking_portal() as portal:  # a thread with its own event loop: a notebook's is taken
            return portal.call(self._sample, requests)

    async def _sample(self, requests: Sequence[Request]) -> list[Sample]:
        async with Replicas(self.urls, self.model, self.adapter, self.dtype) as replicas:
            check_requests(requests, self.max_tokens, replicas.context)
            gate = asyncio.Semaphore(AT_ONCE * len(self.urls))
            tasks = [asyncio.create_task(self._draw(request, replicas, gate)) for request in requests]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _draw(self, request: Request, replicas: Replicas, gate: asyncio.Semaphore) -> Sample:
        draft = Draft(request, temperature=self.temperature, max_tokens=self.max_tokens, stop=self.stop)
        async with gate:
            while not draft.finished:
                body = {**draft.parameters, "prompt": draft.prompt, "return_token_ids": True}
                draft.extend(*await replicas.complete(body))
        self.advance(1)
        return draft.sample()
