"""Servers that die, lie or serve something else: every trace arrives once, or an error says what to do."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest
from fake_server import LOG_PROB, FakeServer, draw

from varcore.llm.engines import replicas
from varcore.llm.engines.drafts import EngineError, fold_seed
from varcore.llm.engines.serving import read_adapter
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.sampling import Request, Sample

REQUESTS = [Request((5, 6), seed) for seed in range(200)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(replicas, "PAUSES", (0.0, 0.0, 0.0))


def sampler(*servers: FakeServer | str, **settings) -> VLLMServerSampler:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return VLLMServerSampler(urls, "m", **{"temperature": 0.7, "max_tokens": 20, "stop": (3,), **settings})


def expected(request: Request) -> Sample:
    """What a fake draws for a request."""
    ids = draw(fold_seed(request.seed, 0), [3], 20)
    return Sample(tuple(ids), (LOG_PROB,) * len(ids), ids[-1] == 3)


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


# ---- all is well -------------------------------------------------------------------------------------------------


def test_samples_come_in_order_and_the_work_is_shared(fake):
    one, other, finished = fake(), fake(), []
    assert sampler(one, other, advance=finished.append).sample(REQUESTS) == [expected(r) for r in REQUESTS]
    assert len(one.bodies) + len(other.bodies) == sum(finished) == len(REQUESTS)
    assert min(len(one.bodies), len(other.bodies)) > 50


def test_what_is_asked_names_ids_and_asks_for_ids(fake):
    server = fake()
    sampler(server).sample(REQUESTS[:1])
    (body,) = server.bodies
    assert (body["model"], body["prompt"], body["return_token_ids"]) == ("m", [5, 6], True)
    assert (body["temperature"], body["stop_token_ids"], body["ignore_eos"]) == (0.7, [3], True)


def test_an_event_loop_that_runs_already_is_no_hindrance(fake):
    """As in a notebook."""

    async def cell() -> list[Sample]:
        return sampler(fake()).sample(REQUESTS[:5])

    assert asyncio.run(cell()) == [expected(request) for request in REQUESTS[:5]]


def test_a_long_marker_is_drawn_for_in_segments(fake):
    server = fake()
    (sample,) = sampler(server, stop=(1, 2), max_tokens=60).sample([Request((5,), 3)])
    asked = [body["prompt"] for body in server.bodies]
    assert len(asked) > 1, "token 2 is drawn about five times in 60"
    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(asked))
    assert asked[-1] == [5, *sample.ids[: len(asked[-1]) - 1]]
    assert len({body["seed"] for body in server.bodies}) == len(asked)


# ---- a replica dies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_after", [0, 1, 40])
def test_one_of_two_dies_and_every_trace_arrives_once(fake, dies_after):
    dying, living, finished = fake(dies_after=dies_after), fake(), []
    with pytest.warns(UserWarning, match=rf"{dying.url} is out .*the others go on: {living.url}"):
        samples = sampler(dying, living, advance=finished.append).sample(REQUESTS)
    assert samples == [expected(request) for request in REQUESTS]
    assert sum(finished) == len(REQUESTS)
    assert dying.looks["/health"] >= 4, "it was looked at before it was given up"


def test_one_that_is_not_there_from_the_start_is_left_out(fake):
    living = fake()
    with pytest.warns(UserWarning, match="is out"):
        assert sampler(nobody(), living).sample(REQUESTS[:5]) == [expected(r) for r in REQUESTS[:5]]


def test_all_dead_names_every_address_and_the_repair(fake):
    one, other = fake(dies_after=10), fake(dies_after=5)
    with (
        pytest.warns(UserWarning, match="is out"),
        pytest.raises(EngineError, match=r"No server answers for m: .*vllm serve m .*processed_logprobs") as error,
    ):
        sampler(one, other).sample(REQUESTS)
    assert one.url in str(error.value)
    assert other.url in str(error.value)


@pytest.mark.parametrize("url", ["nobody", "not an address", "127.0.0.1:8000", "http://"])
def test_an_address_without_a_server_is_named(url):
    url = nobody() if url == "nobody" else url
    with pytest.warns(UserWarning, match="there is no other"), pytest.raises(EngineError) as error:
        sampler(url).sample(REQUESTS[:1])
    assert url in str(error.value)


def test_a_hiccup_is_retried_and_four_are_an_error(fake):
    hiccup = fake(statuses=(500, 503, 502))
    assert sampler(hiccup).sample(REQUESTS[:1]) == [expected(REQUESTS[0])]
    assert len(hiccup.bodies) == 4
    broken = fake(statuses=(500,) * 4)
    with pytest.raises(EngineError, match=r"is well but failed one request four times .*status 500"):
        sampler(broken).sample(REQUESTS[:1])
    assert len(broken.bodies) == 4


# ---- a server that cannot be used --------------------------------------------------------------------------------


def test_a_refusal_is_not_repeated(fake):
    server = fake(statuses=(400,))
    with pytest.raises(EngineError, match=r"refused a request with status 400: .*as ordered"):
        sampler(server).sample(REQUESTS[:1])
    assert len(server.bodies) == 1


def without_ids(answer, body):
    del answer["choices"][0]["token_ids"]


def null_ids(answer, body):
    answer["choices"][0]["token_ids"] = None


def without_log_probs(answer, body):
    answer["choices"][0]["logprobs"] = None


def raw(answer, body):
    answer["choices"][0]["logprobs"]["top_logprobs"] = [{f"token_id:{rank}": -rank / 1.0 for rank in range(6)}]


def another_model(answer, body):
    answer["model"] = "n"


def deaf_to_stop(answer, body):
    if "seed" in body:
        answer["choices"][0]["token_ids"] = [3, 4]
        answer["choices"][0]["logprobs"]["token_logprobs"] = [-1.0, -1.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_ids, r"no token_ids or no logprobs.*return_token_ids"),
        (null_ids, r"no token_ids or no logprobs.*return_token_ids"),
        (without_log_probs, r"no token_ids or no logprobs.*--logprobs-mode processed_logprobs"),
        (raw, "ignore the temperature.*--logprobs-mode processed_logprobs"),
        (another_model, r"answered for the model 'n'.*vllm serve m"),
        (deaf_to_stop, "does not obey stop_token_ids"),
    ],
)
def test_a_server_that_does_not_fit_is_refused_with_the_repair(fake, change, words):
    finished = []
    with pytest.raises(EngineError, match=words):
        sampler(fake(change=change), fake(), advance=finished.append).sample(REQUESTS[:1])
    assert finished == []


def test_servers_of_other_models_are_passed_over(fake):
    other, ours = fake(model="n"), fake()
    assert sampler(other, ours).sample(REQUESTS[:5]) == [expected(r) for r in REQUESTS[:5]]
    assert other.bodies == []
    with pytest.raises(EngineError, match=rf"No server answers for m: {other.url} \(serves n\).*vllm serve m"):
        sampler(other).sample(REQUESTS[:1])


def test_a_prompt_beyond_the_servers_context_is_not_sent(fake):
    server = fake()
    with pytest.raises(ValueError, match=r"Request 1: a prompt of 45 tokens and 20 more .* context of 64"):
        sampler(server).sample([REQUESTS[0], Request((5,) * 45, 1)])
    assert server.bodies == []


# ---- adapters ----------------------------------------------------------------------------------------------------


def with_adapter(folder, *servers: FakeServer) -> VLLMServerSampler:
    return sampler(*servers, adapter=folder)


def test_a_server_is_handed_the_adapter_once_and_asked_for_it(fake, adapters):
    server, name = fake(loading=200), read_adapter(adapters["pi0"]).name
    for _ in range(2):
        assert with_adapter(adapters["pi0"], server).sample(REQUESTS[:5]) == [expected(r) for r in REQUESTS[:5]]
    assert server.loads == [{"lora_name": name, "lora_path": str(adapters["pi0"].resolve())}]
    assert {body["model"] for body in server.bodies} == {name}


def test_an_adapter_that_another_process_has_just_handed_over_is_there(fake, adapters, monkeypatch):
    """vLLM answers 400 to the second of two that ask at the same time."""
    server, name = fake(loading=400), read_adapter(adapters["pi0"]).name
    refuse = server.load
    monkeypatch.setattr(server, "load", lambda body: (server.adapters.append(name), refuse(body))[1])
    assert with_adapter(adapters["pi0"], server).sample(REQUESTS[:1]) == [expected(REQUESTS[0])]
    assert len(server.loads) == 1


def test_a_server_that_does_not_read_adapters_is_named_with_the_command_that_does(fake, adapters):
    deaf, other = fake(loading=404), fake(model="n", loading=200)
    with pytest.raises(EngineError) as error:
        with_adapter(adapters["pi0"], deaf, other).sample(REQUESTS[:1])
    assert f"{deaf.url} (serves m, and does not read the adapter: status 404" in str(error.value)
    assert f"{other.url} (serves n)" in str(error.value)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve m " in str(error.value)
    assert "--enable-lora --max-lora-rank 8" in str(error.value)
    assert other.loads == [], "it holds another model"
    assert with_adapter(adapters["pi0"], deaf, fake(loading=200)).sample(REQUESTS[:5]) == [
        expected(request) for request in REQUESTS[:5]
    ]


# ---- real servers ------------------------------------------------------------------------------------------------


@pytest.mark.vllm
def test_of_two_real_servers_one_is_killed_and_every_trace_arrives_once(servers, folder, monkeypatch):
    """SIGKILL to all processes of the second as soon as 20 of 200 samples are there.  The first alone, asked again,
    draws the same ids: none is lost, none stands twice or in another's place."""
    monkeypatch.undo()  # real pauses
    first, second = servers
    requests = [Request((5, seed % 12), seed) for seed in range(200)]
    settings = {"temperature": 1.0, "max_tokens": 60, "stop": (0, 0, 0, 0)}
    finished: list[int] = []

    def kill(count: int) -> None:
        finished.append(count)
        if len(finished) == 20:
            second.kill()

    both = VLLMServerSampler([first.url, second.url], str(folder), **settings, advance=kill)
    with pytest.warns(UserWarning, match=rf"{second.url} is out .*the others go on: {first.url}"):
        samples = both.sample(requests)
    assert sum(finished) == len(samples) == 200
    alone = VLLMServerSampler([first.url], str(folder), **settings).sample(requests)
    assert [sample.ids for sample in samples] == [sample.ids for sample in alone]
