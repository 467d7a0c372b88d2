"""Several processes train what one does, and the shipped configurations are ones that accelerate reads."""

import os
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
CONFIGS = sorted((HERE.parent.parent / "configs").glob("*.yaml"))


def launch(result: Path, processes: int) -> dict[str, torch.Tensor]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--num_processes", str(processes), "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command += ["--multi_gpu", "--main_process_port", str(port)] if processes > 1 else ["--cpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(HERE / "launched.py"), str(result)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tensors, notes = storage.read_tensors(result)
    assert notes["processes"] == str(processes)
    return tensors


def test_two_processes_train_the_model_that_one_trains(tmp_path):
    one, two = (launch(tmp_path / f"{count}.safetensors", count) for count in (1, 2))
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
