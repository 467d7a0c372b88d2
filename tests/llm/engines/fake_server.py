"""As much of vLLM's HTTP as the server sampler uses, in this process, with faults to order.  Nothing of varcore."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VOCABULARY = 12
LOG_PROB = -math.log(VOCABULARY)


def draw(seed: int, stop: list[int], limit: int) -> list[int]:
    """Uniform tokens until one of `stop` or the limit: what a fake answers is a function of the request."""
    ids, stream = [], random.Random(seed)
    while len(ids) < limit and (not ids or ids[-1] not in stop):
        ids.append(stream.randrange(VOCABULARY))
    return ids


class FakeServer:
    """Serves until stopped.

    Args:
        model: the name it serves.
        dies_after: completions after which nothing is answered any more, /health included.
        statuses: of the first completions, instead of an answer.
        change: a function that spoils an answer, given it and the request.
        loading: the status that answers a request to read an adapter.
        adapters: names of those that it has read.
    """

    def __init__(
        self,
        model: str = "m",
        *,
        dies_after: float = math.inf,
        statuses: tuple[int, ...] = (),
        change=None,
        loading: int = 404,
        adapters: tuple[str, ...] = (),
    ):
        self.model, self.dies_after, self.statuses, self.change = model, dies_after, list(statuses), change
        self.loading, self.adapters, self.loads = loading, list(adapters), []
        self.bodies: list[dict[str, Any]] = []  # of completions asked for, those of the first look excepted
        self.looks: Counter[str] = Counter()
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.looks[self.path] += 1
                listed = [{"id": fake.model, "max_model_len": 64}]
                listed += [{"id": name, "max_model_len": None} for name in fake.adapters]
                self.reply(200, {"data": listed} if self.path == "/v1/models" else {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.reply(*(fake.load(body) if self.path == "/v1/load_lora_adapter" else fake.answer(body)))

            def reply(self, status: int, content: Any) -> None:
                if fake.dead:
                    self.close_connection = True
                    return
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def dead(self) -> bool:
        return len(self.bodies) > self.dies_after

    def load(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.loads.append(body)
        if self.loading == 200:
            self.adapters.append(body["lora_name"])
        return self.loading, {"detail": "as ordered"}

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["model"] not in (self.model, *self.adapters):
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        with self.lock:
            if "seed" in body:
                self.bodies.append(body)
                if self.statuses:
                    return self.statuses.pop(0), {"error": {"message": "as ordered"}}
        ids = draw(body.get("seed", 0), body.get("stop_token_ids", []), body["max_tokens"])
        top = [{f"token_id:{rank}": -rank / body["temperature"] for rank in range(6)}]
        choice = {"token_ids": ids, "logprobs": {"token_logprobs": [LOG_PROB] * len(ids), "top_logprobs": top}}
        answer = {"model": body["model"], "choices": [choice]}
        if self.change:
            self.change(answer, body)
        return 200, answer

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
