"""Several processes train what one does, and the shipped configurations are ones that accelerate reads."""

import contextlib
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
from varcore.llm.processes import check_devices
from varcore.llm.training import TrainSettings, _check_muon, check_batch

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
SHARDED = str(HERE.parent.parent / "configs" / "fsdp_1x8.yaml")
CONFIGS = sorted((HERE.parent.parent / "configs").glob("*.yaml"))


def start(processes: int, *program: str, config: str = "") -> subprocess.CompletedProcess[str]:
    """`program` is a script with its arguments, or -m and a module with its own; `config` a file of accelerate's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--num_processes", str(processes), "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command += ["--config_file", config] if config else ["--multi_gpu"] if processes > 1 else ["--cpu"]
    command += ["--main_process_port", str(port)] if processes > 1 else []
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*command, *program], env=environment, capture_output=True, text=True, check=False)


def launch(processes: int, *program: str, config: str = "") -> None:
    done = start(processes, *program, config=config)
    assert done.returncode == 0, done.stderr


def trained(result: Path, processes: int, *stop: str, config: str = "") -> tuple[dict[str, torch.Tensor], int, int]:
    """Weights, losses and norms; how many parameters were sharded; the step that the training went on from."""
    launch(processes, str(HERE / "launched.py"), str(result), *stop, config=config)
    if stop:
        assert not result.exists()
        return {}, 0, 0
    tensors, notes = storage.read_tensors(result)
    assert notes["processes"] == str(processes)
    return tensors, int(notes["sharded"]), int(notes["began"])


def assert_same_training(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-5, atol=1e-5)
    assert len(set(one["losses"].tolist())) == 6  # it did learn something


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


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, torch.Tensor]:
    """What one process trains."""
    return trained(tmp_path_factory.mktemp("alone") / "one.safetensors", 1)[0]


def test_two_processes_train_the_model_that_one_trains(alone, tmp_path):
    two, sharded, _ = trained(tmp_path / "two.safetensors", 2)
    assert sharded == 0
    assert_same_training(alone, two)


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory) -> Path:
    """What two processes leave that hold a shard each and are stopped after five steps.

    The shipped configuration for a machine of eight GPUs, on CPUs with gloo and in float32.
    """
    folder = tmp_path_factory.mktemp("broken")
    trained(folder / "result.safetensors", 2, "5", config=SHARDED)
    return folder


@pytest.mark.parametrize(("processes", "config"), [(2, SHARDED), (1, "")], ids=["with shards", "alone"])
def test_what_sharded_processes_left_unfinished_ends_as_the_training_of_one(
    alone, broken_off, tmp_path, processes, config
):
    """From the checkpoint after four steps, which must have held every weight and the whole optimiser's state."""
    folder = shutil.copytree(broken_off, tmp_path / "copy")
    again, sharded, began = trained(folder / "result.safetensors", processes, config=config)
    assert began == 4
    assert sharded == (len(alone) - 2 if config else 0), "all but losses and norms"
    assert_same_training(alone, again)


def test_a_launch_for_gpus_that_are_not_there_is_refused(tmp_path):
    """Without GPUs accelerate would start eight whole trainings on the CPU, whatever its configuration says."""
    done = start(2, "-m", "varcore.cli", "run", "--out", str(tmp_path / "run"), config=SHARDED)
    assert done.returncode != 0
    assert "varcore: The launch asks for a GPU for each of 2 processes of this machine, and there are 0." in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("started", "found", "fine"), [(8, 8, True), (8, 4, False), (1, 0, True), (2, 0, True)])
def test_more_processes_than_gpus_are_refused(monkeypatch, started, found, fine):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(started))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    with contextlib.nullcontext() if fine else pytest.raises(ValueError, match=r"each of 8 .* there are 4.*--num_p"):
        check_devices()


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match=r"4 examples do not divide by 3 processes\. Choose another"):
        check_batch(TrainSettings(1, batch_size=4), 3)


def test_muon_is_refused_where_matrices_are_sharded():
    with pytest.raises(ValueError, match=r"Muon needs whole matrices.*Set muon to false"):
        _check_muon(TrainSettings(1), sharded=True)
    _check_muon(TrainSettings(1, muon=False), sharded=True)
    _check_muon(TrainSettings(1), sharded=False)


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
