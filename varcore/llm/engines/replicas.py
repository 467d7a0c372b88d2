"""Several `vllm serve` processes that serve one model, used as one."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from typing import Any

import httpx2

from varcore.llm.engines.drafts import WHOLE_DISTRIBUTION, EngineError, saved_dtype
from varcore.llm.engines.serving import LOG_PROBS, Adapter, serve_command

PAUSES = (0.5, 1.0, 2.0)  # seconds, between looks at a silent replica and before sending a request once more
LOOK_SECONDS = 10.0
ANSWER_SECONDS = 3600.0  # a long trace on a busy server
NEEDED = f"--logprobs-mode {LOG_PROBS}"


class Replicas:
    """The servers among `urls` that serve `model`.  ``async with Replicas(urls, model) as replicas: ...``

    With an adapter, requests name it instead, and a server of `model` that has not read it is told to, which servers
    do that were started with VLLM_ALLOW_RUNTIME_LORA_UPDATING.

    A request goes to the replica with the fewest requests under way.  When no answer comes (no connection, one that
    breaks, nothing within ANSWER_SECONDS, a status of 500 or more), the replica is asked for /health, four times in 3.5
    seconds.  If it is never well it is dropped, with a warning, and its requests go to the others.  If it is well, the
    request is sent again, three times at most.

    Entering raises EngineError if a server gives no token ids or log-probabilities of another distribution, or if none
    serves `model`.
    """

    def __init__(self, urls: Sequence[str], model: str, adapter: Adapter | None = None, dtype: str | None = None):
        self.base, self.adapter, self.dtype = model, adapter, dtype or saved_dtype(model)
        self.model = adapter.name if adapter else model
        self.contexts: dict[str, int] = {}
        self._under_way = {url.rstrip("/"): 0 for url in urls}  # the living ones
        self._gone: dict[str, str] = {}  # the others, and why
        self._looking = {url: asyncio.Lock() for url in self._under_way}
        # no proxy: prompts go to these addresses alone.  Servers close idle connections after 5 seconds.
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=LOOK_SECONDS, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0),
            trust_env=False,
        )

    async def __aenter__(self) -> Replicas:
        try:
            for url in list(self._under_way):
                await self._admit(url)
            self._least_busy()
        except BaseException:
            await self._client.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.aclose()

    @property
    def context(self) -> int:
        """Tokens, prompt and continuation together, that every replica takes."""
        return min(self.contexts.values())

    async def complete(self, body: dict[str, Any]) -> tuple[list[int], list[float]]:
        """Ids and log-probabilities of a completion, from one replica.  EngineError if none can give it."""
        pauses = iter(PAUSES)
        while True:
            url = self._least_busy()
            self._under_way[url] += 1
            try:
                ids, log_probs, _ = _read(await self._post(url, body))
                return ids, log_probs
            except (httpx2.TransportError, _ServerFault) as error:
                trouble = f"{type(error).__name__}: {error}"
            finally:
                if url in self._under_way:
                    self._under_way[url] -= 1
            if await self._is_well(url, trouble):
                pause = next(pauses, None)
                if pause is None:
                    raise EngineError(f"{url} is well but failed one request four times ({trouble}). See its log.")
                await asyncio.sleep(pause)

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._client.post(f"{url}/v1/completions", json={"model": self.model, **body})
        if response.status_code >= 500:
            raise _ServerFault(f"status {response.status_code}")
        if response.status_code >= 400:
            raise EngineError(f"{url} refused a request with status {response.status_code}: {response.text[:500]}")
        answer = _json(response, url)
        if answer.get("model") != self.model:
            raise EngineError(f"{url} answered for the model {answer.get('model')!r}. {self._repair()}")
        return answer

    async def _admit(self, url: str) -> None:
        """Find out whether `url` serves the model, and refuse it if its log-probabilities are not those wanted."""
        try:
            served, trouble = await self._served(url), ""
            if self.adapter and self.base in served and self.model not in served:
                trouble = await self._hand_over(url, self.adapter)
                served = await self._served(url)  # another process may have handed it over in between
            if self.model not in served:
                del self._under_way[url]
                self._gone[url] = f"serves {', '.join(served) or 'nothing'}{trouble}"
                return
            self.contexts[url] = served[self.base]  # of an adapter, vLLM does not say it
            await self._probe(url)
        except (httpx2.TransportError, httpx2.InvalidURL, _ServerFault) as error:
            self._drop(url, f"{type(error).__name__}: {error}")

    async def _served(self, url: str) -> dict[str, Any]:
        """Names of the models and adapters that `url` serves, and the models' contexts."""
        response = await self._client.get(f"{url}/v1/models", timeout=LOOK_SECONDS)
        return {entry["id"]: entry.get("max_model_len") for entry in _json(response, url).get("data", ())}

    async def _hand_over(self, url: str, adapter: Adapter) -> str:
        """Ask `url` to read the adapter; why it does not, or nothing."""
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        response = await self._client.post(f"{url}/v1/load_lora_adapter", json=body)
        if response.status_code == 200:
            return ""
        return f", and does not read the adapter: status {response.status_code}, {response.text[:200]}"

    async def _probe(self, url: str) -> None:
        """The five likeliest tokens must lie four times as far apart at a fourth of the temperature, not as far."""
        wanted = {"logprobs": 5, "return_token_ids": True, "return_tokens_as_token_ids": True}
        body = {**WHOLE_DISTRIBUTION, **wanted, "prompt": [0], "max_tokens": 1}
        spreads = []
        for temperature in (0.5, 2.0):
            _, _, (top,) = _read(await self._post(url, {**body, "temperature": temperature}))
            highest = sorted(top.values())[-5:]
            spreads.append(highest[-1] - highest[0])
        if spreads[0] < 2.0 * spreads[1]:
            raise EngineError(f"{url} gives log-probabilities that ignore the temperature. {self._repair()}")

    async def _is_well(self, url: str, trouble: str) -> bool:
        """Does a replica that failed a request say that it is well?  If not, it is dropped."""
        async with self._looking[url]:
            for pause in (0.0, *PAUSES):
                if url in self._gone:
                    return False
                await asyncio.sleep(pause)
                try:
                    if (await self._client.get(f"{url}/health", timeout=LOOK_SECONDS)).status_code == 200:
                        return True
                except httpx2.TransportError as error:
                    trouble = f"{type(error).__name__}: {error}"
            self._drop(url, trouble)
            return False

    def _drop(self, url: str, why: str) -> None:
        del self._under_way[url]
        self._gone[url] = why
        others = f"the others go on: {', '.join(self._under_way)}" if self._under_way else "there is no other"
        warnings.warn(f"The server {url} is out ({why}); {others}.", stacklevel=2)

    def _least_busy(self) -> str:
        if not self._under_way:
            reasons = "; ".join(f"{url} ({why})" for url, why in self._gone.items())
            raise EngineError(f"No server answers for {self.model}: {reasons}. {self._repair()}")
        return min(self._under_way, key=self._under_way.__getitem__)

    def _repair(self) -> str:
        command = serve_command(self.base, self.dtype, self.adapter.rank if self.adapter else 0)
        return (
            f"Start one: {command}; name its address (http://127.0.0.1:8000) and repeat the command: a run continues "
            "where it was."
        )


class _ServerFault(Exception):
    """A status of 500 or more."""


def _json(response: httpx2.Response, url: str) -> dict[str, Any]:
    if response.status_code >= 500:
        raise _ServerFault(f"status {response.status_code}")
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise EngineError(
            f"{url} does not speak vLLM's HTTP: {response.text[:200]!r}. Name the address of a vllm serve."
        )
    return answer


def _read(answer: dict[str, Any]) -> tuple[list[int], list[float], list[dict[str, float]]]:
    """Of one completion: ids, their log-probabilities, and those of the likeliest tokens at each place."""
    try:
        (choice,) = answer["choices"]
        log_probs = choice["logprobs"]
        found = choice["token_ids"], log_probs["token_logprobs"], log_probs["top_logprobs"]
    except (KeyError, TypeError, ValueError):
        found = ()
    if not found or not all(isinstance(part, list) for part in found):
        raise EngineError(
            "A server's answer has no token_ids or no logprobs, so nothing can be recorded as it was drawn. Use a "
            f"vllm serve that knows return_token_ids, with {NEEDED}."
        )
    return found
