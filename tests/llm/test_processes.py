"""Several processes train what one does, and the shipped configurations are ones that accelerate reads."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

from varcore.llm import storage
from varcore.llm.training import TrainSettings, _check_processes

HERE = Path(__file__).resolve().parent
SHORT = {"steps": 4, "batch_size": 8, "muon": False}
SMALL_RUN = {
    "methods": ["rft"],
    "num_curated": 16,
    "num_answer_only": 8,
    "num_test": 8,
    "evaluation_samples": 2,
    "prior_traces": 2,
    "posterior_traces": 2,
    "answers": 2,
    "max_trace_tokens": 24,
    "max_answer_tokens": 8,
    "corpus_texts": 1200,
    "shard_questions": 9,  # three shards, for two processes
    "base": {"steps": 60, "batch_size": 16, "learning_rate": 1e-2, "muon_learning_rate": 3e-2},
    "initial": {"steps": 60, "batch_size": 16, "learning_rate": 5e-3},
    "reasoner": SHORT,
}
CONFIGS = sorted((HERE.parent.parent / "configs").glob("*.yaml"))


def launch(processes: int, *program: str) -> None:
    """`program` is a script with its arguments, or -m and a module with its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--num_processes", str(processes), "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command += ["--multi_gpu", "--main_process_port", str(port)] if processes > 1 else ["--cpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, *program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def trained(result: Path, processes: int) -> dict[str, torch.Tensor]:
    launch(processes, str(HERE / "launched.py"), str(result))
    tensors, notes = storage.read_tensors(result)
    assert notes["processes"] == str(processes)
    return tensors


def rewound(run: Path, copy: Path) -> None:
    """A copy of a finished run that stands after init-reasoner."""
    shutil.copytree(run, copy)
    for path in [*(copy / "ledger").iterdir(), *(copy / "evaluation").iterdir(), copy / "results.json"]:
        path.unlink()
    shutil.rmtree(copy / "models" / "rft")
    storage.write_json(copy / "state.json", {"done": ["base", "init-reasoner"]})


def test_two_processes_do_the_run_that_one_does(tmp_path):
    """From the same pi_0 every trace, answer and verdict is the same; a reasoner trained by two is so to 1e-4."""
    settings = tmp_path / "settings.json"
    storage.write_json(settings, SMALL_RUN)
    command = ["-m", "varcore.cli", "run", "--config", str(settings), "--threads", "1", "--json", "--out"]
    one, two = tmp_path / "one", tmp_path / "two"
    launch(1, *command, str(one))
    rewound(one, two)
    launch(2, *command, str(two))
    files = sorted(path.name for path in (one / "ledger").iterdir())
    assert files == sorted(path.name for path in (two / "ledger").iterdir())
    assert len(files) == 2 * 3  # prior and extra, three shards each
    for name in [f"ledger/{name}" for name in files] + ["evaluation/pi0.parquet"]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    weights = [storage.read_tensors(run / "models" / "rft" / "model.safetensors")[0] for run in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-4, atol=1e-4)
    assert storage.read_json(two / "state.json") == storage.read_json(one / "state.json")
    spent = [storage.read_json(run / "results.json")["spent"]["rft"] for run in (one, two)]
    assert {**spent[0], "seconds": 0} == {**spent[1], "seconds": 0}


def test_two_processes_train_the_model_that_one_trains(tmp_path):
    one, two = (trained(tmp_path / f"{count}.safetensors", count) for count in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-5)
    assert len(set(one["losses"].tolist())) == 6  # it did learn something


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match=r"4 examples do not divide by 3 processes\. Choose another"):
        _check_processes(3, False, TrainSettings(1, batch_size=4))


def test_muon_is_refused_where_matrices_are_sharded():
    with pytest.raises(ValueError, match=r"Muon needs whole matrices.*Set muon to false"):
        _check_processes(3, True, TrainSettings(1, batch_size=6))
    _check_processes(3, True, TrainSettings(1, batch_size=6, muon=False))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_read_by_accelerate(path):
    config = load_config_from_file(str(path))
    assert config.mixed_precision == "bf16"
    if "fsdp" in path.stem:
        assert config.distributed_type == "FSDP"
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == "Qwen3DecoderLayer"


def test_the_configuration_for_two_machines_of_eight_is_there():
    config = load_config_from_file(str(HERE.parent.parent / "configs" / "fsdp_2x8.yaml"))
    assert (config.num_machines, config.num_processes) == (2, 16)
