"""The exports of the float network: each file gives PyTorch's logits, and the check can tell when one does not."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import fill
from needs import has, suits
from PIL import Image

from pspnet_kit import checkpoint
from pspnet_kit.commands import export as command
from pspnet_kit.data.pictures import read_pictures
from pspnet_kit.errors import KitError
from pspnet_kit.export import onnx, torchscript
from pspnet_kit.export.agreement import Inputs, check_export, deployable, network_inputs
from pspnet_kit.model import Architecture, PSPNet, build

HEIGHT, WIDTH = 48, 96
NO_ONNX = "onnx and onnxruntime are not in this environment (kit/setup --torch gpu has them)"
NO_PROGRAM = "this torch has no torch.export (kit/setup --torch gpu has one that does)"
HAS_PROGRAM = hasattr(getattr(torch, "export", None), "save")


@pytest.fixture(scope="module")
def model() -> PSPNet:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(Architecture(3, stages=4, bin_channels=4, head_channels=16, skip_stride=4, refine_channels=8))
    # BatchNorm statistics and weights as training leaves them, far from 0 and 1.
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return network_inputs(command.generated(HEIGHT, WIDTH), HEIGHT, WIDTH)


def test_network_inputs_are_pixels_minus_127_over_128() -> None:
    picture = np.zeros((1, 2, 3), np.uint8)
    picture[0, 1] = (127, 255, 63)
    values = network_inputs([picture], 1, 2)
    assert values.shape == (1, 3, 1, 2) and values.dtype == np.float32
    np.testing.assert_array_equal(values[0, :, 0, 0], [-127 / 128] * 3)
    np.testing.assert_array_equal(values[0, :, 0, 1], [0, 1, -0.5])


def test_the_copy_for_exports_has_no_auxiliary_classifier(model: PSPNet) -> None:
    network = deployable(model)
    assert not network.architecture.auxiliary and not hasattr(network, "auxiliary")
    assert model.architecture.auxiliary and hasattr(model, "auxiliary"), "the original stays as it is"


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_onnx(model: PSPNet, inputs: Inputs, tmp_path: Path, dynamic_batch: bool) -> None:
    suits(has("onnx", "onnxruntime"), NO_ONNX)
    import onnx as format

    path = tmp_path / "model.onnx"
    onnx.export_onnx(model, path, HEIGHT, WIDTH, dynamic_batch)
    run = onnx.runner(path)
    assert run is not None
    assert check_export(model, run, inputs, path).equal_argmax > 0.999

    written = format.load(str(path))
    format.checker.check_model(written)
    assert [entry.version for entry in written.opset_import if not entry.domain] == [17]
    shape = [d.dim_param or d.dim_value for d in written.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch" if dynamic_batch else 1, 3, HEIGHT, WIDTH]
    assert not [tensor.name for tensor in written.graph.initializer if tensor.name.startswith("auxiliary")]
    if dynamic_batch:
        assert run(inputs).shape == (3, 3, HEIGHT // 4, WIDTH // 4)


@pytest.mark.parametrize("wrapped", [False, True])
def test_onnx_says_which_package_torch_lacks(
    model: PSPNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    def export(*_: object, **__: object) -> None:
        missing = ModuleNotFoundError("No module named 'onnx'", name="onnx")
        if wrapped:
            raise RuntimeError("Module onnx is not installed!") from missing
        raise missing

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(KitError, match=r"model\.onnx: torch .* needs onnx to write it: pip install onnx$"):
        onnx.export_onnx(model, tmp_path / "model.onnx", HEIGHT, WIDTH)
    assert not list(tmp_path.iterdir())


def test_torchscript(model: PSPNet, inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    torchscript.export_torchscript(model, path, HEIGHT, WIDTH)
    run = torchscript.torchscript_runner(path)
    assert check_export(model, run, inputs, path).max_difference < 1e-4
    assert run(inputs).shape == (3, 3, HEIGHT // 4, WIDTH // 4)
    assert not [name for name in torch.jit.load(str(path)).state_dict() if name.startswith("auxiliary")]


def test_torch_export(model: PSPNet, inputs: Inputs, tmp_path: Path) -> None:
    suits(HAS_PROGRAM, NO_PROGRAM)
    path = tmp_path / "model.pt2"
    torchscript.export_program(model, path, HEIGHT, WIDTH, dynamic_batch=True)
    run = torchscript.program_runner(path)
    assert check_export(model, run, inputs, path).max_difference < 1e-4
    assert run(inputs).shape == (3, 3, HEIGHT // 4, WIDTH // 4)


@pytest.mark.parametrize("name", ["export_torchscript", "export_program"])
def test_a_full_disk_leaves_the_former_file(
    model: PSPNet, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    suits(name != "export_program" or HAS_PROGRAM, NO_PROGRAM)
    path = tmp_path / "model"
    path.write_bytes(b"former")
    fill(monkeypatch)
    with pytest.raises(KitError, match=f"{path}: can't be written: No space left"):
        getattr(torchscript, name)(model, path, HEIGHT, WIDTH)
    assert path.read_bytes() == b"former"


def test_a_torch_without_torch_export_says_so(model: PSPNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "export", raising=False)
    with pytest.raises(KitError, match=r"has no torch\.export"):
        torchscript.export_program(model, tmp_path / "model.pt2", HEIGHT, WIDTH)


def test_a_size_that_the_bins_do_not_divide_is_refused(model: PSPNet, tmp_path: Path) -> None:
    for export in (onnx.export_onnx, torchscript.export_torchscript):
        with pytest.raises(KitError, match="input width 100"):
            export(model, tmp_path / "model", HEIGHT, 100)
    assert not list(tmp_path.iterdir())


# The check itself


def test_the_check_measures_the_largest_difference(model: PSPNet, inputs: Inputs) -> None:
    def shifted(batch: Inputs) -> np.ndarray:
        with torch.no_grad():
            logits = deployable(model)(torch.from_numpy(batch)).numpy()
        logits[0, 0, 0, 0] += 0.0005
        return logits

    agreement = check_export(model, shifted, inputs, Path("model.onnx"))
    assert agreement.pictures == 3
    assert agreement.max_difference == pytest.approx(0.0005, rel=0.01)


@pytest.mark.parametrize("fault", [0.002, np.nan])
def test_the_check_refuses_other_logits(model: PSPNet, inputs: Inputs, fault: float) -> None:
    def faulty(batch: Inputs) -> np.ndarray:
        with torch.no_grad():
            logits = deployable(model)(torch.from_numpy(batch)).numpy()
        logits[0, 1, 2, 3] += fault
        return logits

    with pytest.raises(KitError, match=r"model\.onnx: is not the network"):
        check_export(model, faulty, inputs, Path("model.onnx"))


def test_the_check_refuses_other_classes(model: PSPNet, inputs: Inputs) -> None:
    """Logits so close that the tolerance hides a swap of the classes: the argmax shows it."""
    flat = deployable(model)
    with torch.no_grad():
        flat.classifier.weight.mul_(1e-6)
        flat.classifier.bias.zero_()

    def swapped(batch: Inputs) -> np.ndarray:
        with torch.no_grad():
            return -flat(torch.from_numpy(batch)).numpy()

    with pytest.raises(KitError, match="is not the network"):
        check_export(flat, swapped, inputs, Path("model.onnx"))


def test_the_check_refuses_another_shape(model: PSPNet, inputs: Inputs) -> None:
    with pytest.raises(KitError, match="shape"):
        check_export(model, lambda batch: np.zeros((1, 2, 12, 24), np.float32), inputs, Path("model.onnx"))


# The command


def arguments(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**{"to": ["torchscript"], "pictures": None, "dynamic_batch": False, **values})


@pytest.fixture
def loaded(model: PSPNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's own reading is tested with the checkpoint."""
    meta = {"input": {"height": HEIGHT, "width": WIDTH}}
    monkeypatch.setattr(checkpoint, "load_model", lambda path: (model, meta))


@pytest.mark.usefixtures("loaded")
def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.full((20, 30, 3), 80 * index, np.uint8)).save(folder / f"{index}.png")
    command.run(arguments(checkpoint=Path("street.pt"), output=tmp_path / "out", pictures=folder))
    assert (tmp_path / "out/street.ts").is_file()
    printed = capsys.readouterr().out
    assert "street.ts: largest difference of a logit" in printed and "of 3 pictures" in printed


def test_a_place_that_can_not_be_written_is_told_before_the_checkpoint_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KitError, match=r"file/street\.ts: can't be written"):
        command.run(arguments(checkpoint=Path("street.pt"), output=tmp_path / "file"))


@pytest.mark.usefixtures("loaded")
def test_without_onnxruntime_the_file_is_called_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "export_onnx", lambda model, path, *rest: path.write_bytes(b"onnx"))
    monkeypatch.setattr(onnx, "runner", lambda path: None)
    command.run(arguments(checkpoint=Path("street.pt"), output=tmp_path, to=["onnx"]))
    assert "street.onnx: written, NOT checked" in capsys.readouterr().out


@pytest.mark.usefixtures("loaded")
def test_a_file_that_fails_the_check_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = np.zeros((1, 3, HEIGHT // 4, WIDTH // 4), np.float32)
    monkeypatch.setattr(torchscript, "torchscript_runner", lambda path: lambda batch: zeros)
    with pytest.raises(KitError, match="is not the network"):
        command.run(arguments(checkpoint=Path("street.pt"), output=tmp_path))
    assert not list(tmp_path.iterdir())


def test_pictures_are_spread_over_the_folder(tmp_path: Path) -> None:
    for index in range(10):
        Image.fromarray(np.full((2, 2, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    assert [int(picture[0, 0, 0]) for picture in read_pictures(tmp_path, most=4)] == [0, 3, 6, 9]


def test_folders_and_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    (tmp_path / ".c.png").touch()
    assert len(read_pictures(tmp_path)) == 1


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="no such folder"):
        read_pictures(tmp_path / "none")
    with pytest.raises(KitError, match="no picture in it"):
        read_pictures(tmp_path)
