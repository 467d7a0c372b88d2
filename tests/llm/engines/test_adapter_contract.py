"""Adapters over one base, drawn with by every engine: each request by the adapter it asks for, and by no other."""

from __future__ import annotations

import random
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from varcore.llm.engines.serving import RANKS, read_adapter, serve_command, start_options
from varcore.llm.engines.vllm_engine import VLLMSampler, close_engine, open_engine
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.export import merge
from varcore.llm.run import RunDirectory
from varcore.llm.sampling import Request, Sample
from varcore.llm.scoring import score

FLOAT32 = 1e-4  # as for whole models; the two adapters and the base lie more than 1 nat apart


def requests(count: int = 40) -> list[Request]:
    """Prompts of 1 to 40 tokens, and one of 300 that comes twice: engines keep what they computed for it."""
    rng = random.Random(0)
    lengths = [300, *(rng.randint(1, 40) for _ in range(count)), 300]
    prompts = [tuple(random.Random(length).randrange(12) for _ in range(length)) for length in lengths]
    return [Request(prompt, rng.getrandbits(63)) for prompt in prompts]


def distance(samples: list[Sample], model) -> float:
    """The largest difference between the log-probabilities of samples and those that our scorer gives."""
    pairs = [(request.prompt, sample.ids) for request, sample in zip(requests(), samples, strict=True)]
    scores = score(model, pairs, temperature=0.7)
    return max(
        abs(ours - theirs)
        for values, sample in zip(scores, samples, strict=True)
        for ours, theirs in zip(values, sample.log_probs, strict=True)
    )


def test_each_of_two_adapters_draws_its_own_distribution_by_turns(make_adapter_sampler, shared, adapters):
    drawn = []
    for role, other in (("pi0", "q1"), ("q1", "pi0"), ("pi0", "q1")):
        samples = make_adapter_sampler(adapters[role]).sample(requests())
        assert distance(samples, shared.use(role)) < FLOAT32
        assert distance(samples, shared.use(other)) > 1
        assert distance(samples, shared.base()) > 1
        drawn.append(samples)
    assert [sample.ids for sample in drawn[0]] == [sample.ids for sample in drawn[2]]


def test_a_folder_that_is_written_anew_is_read_anew(make_adapter_sampler, shared, adapters, tmp_path):
    """Also by an engine or a server that goes on."""
    for role in ("pi0", "q1"):
        shutil.copytree(adapters[role], tmp_path / "role", dirs_exist_ok=True)
        samples = make_adapter_sampler(tmp_path / "role").sample(requests())
        assert distance(samples, shared.use(role)) < FLOAT32


@pytest.mark.vllm
def test_one_server_draws_with_two_adapters_at_the_same_time(adapter_server, folder, shared, adapters):
    def draw(role: str) -> list[Sample]:
        settings = {"temperature": 0.7, "max_tokens": 12, "stop": (3,)}
        return VLLMServerSampler([adapter_server.url], str(folder), adapter=adapters[role], **settings).sample(
            requests()
        )

    roles = ["pi0", "q1", "pi0", "q1"]
    with ThreadPoolExecutor(len(roles)) as threads:
        for role, samples in zip(roles, threads.map(draw, roles), strict=True):
            assert distance(samples, shared.use(role)) < FLOAT32


@pytest.mark.vllm
def test_a_merged_model_is_one_that_vllm_loads_by_its_path(folder, shared, adapters, miniature, tmp_path):
    RunDirectory(tmp_path / "run", miniature(lora_rank=4)).close()
    for role, place in (("base", folder), ("tokenizer", folder), ("pi0", adapters["pi0"])):
        shutil.copytree(place, tmp_path / "run" / "models" / role)
    merge(tmp_path / "run", "pi0", tmp_path / "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of vLLM's own imports
        engine = open_engine(tmp_path / "plain", kv_cache_memory_bytes=2**28)
    try:
        samples = VLLMSampler(engine, temperature=0.7, max_tokens=12, stop=(3,)).sample(requests())
    finally:
        close_engine(engine)
    assert distance(samples, shared.use("pi0")) < FLOAT32


def test_an_adapter_is_known_by_its_place_and_its_files(adapters, tmp_path):
    one, other = (read_adapter(adapters[role]) for role in ("pi0", "q1"))
    assert one.name.startswith(f"{adapters['pi0'].resolve()}@")
    assert (one.rank, one == read_adapter(adapters["pi0"])) == (4, True)
    assert 0 < one.number < 2**63
    assert one.number != other.number
    copy = shutil.copytree(adapters["pi0"], tmp_path / "pi0")
    assert read_adapter(copy).number == one.number
    settings = copy / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    assert read_adapter(copy).number != one.number, "the same matrices at another scale"
    with pytest.raises(ValueError, match="no LoRA adapter in safetensors"):
        read_adapter(tmp_path)


def test_the_start_command_fits_the_device_and_the_adapters(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    start = "vllm serve '/a b/pi0' --host 127.0.0.1 --port 8000 --dtype bfloat16 --logprobs-mode processed_logprobs"
    assert serve_command("/a b/pi0", "bfloat16") == start
    adapters = "--enable-lora --max-lora-rank 32"
    assert serve_command("/a b/pi0", "bfloat16", 17) == f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True {start} {adapters}"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on_cpu = "--enforce-eager --kv-cache-memory-bytes 1073741824 --no-enable-chunked-prefill"
    assert serve_command("/a b/pi0", "bfloat16") == f"{start} {on_cpu}"


@pytest.mark.parametrize("rank", RANKS)
def test_room_is_made_for_the_rank_and_no_more_than_needed(rank):
    assert start_options("float32", rank, on_cpu=False)["max_lora_rank"] == rank
