from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgetf.conversion.factors import factors_of
from edgetf.conversion.pixels import fold_pixels, fractions, maps_for, refuse_other_values
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.pixels import as_pixels, find_pixels
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops, pack, parse_contents, pixel_maps, unpack
from edgetf.pixels import PixelMap, parse_map
from edgetf.results import TensorSpec
from edgetf.samples import make_samples

Numbers = NDArray[Any]

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 2)).astype(np.uint8)
WHOLE, BETWEEN = parse_map("mean=128 std=50"), parse_map("mean=127.5 std=50")
CHANNELS = parse_map("mean=120,140.5 std=50,60")
FLOATS, QUANTIZED = ("float32", "float16", "weights", "dynamic"), ("int8", "int8-io", "int16x8")


@pytest.mark.parametrize("one", [WHOLE, BETWEEN], ids=["whole", "between"])
@pytest.mark.parametrize("scheme", [*FLOATS, *QUANTIZED])
def test_a_folded_variant_answers_to_pixels_as_before_to_the_values(
    scheme: str, one: PixelMap, converted: Path
) -> None:
    content = (converted / f"{scheme}.tflite").read_bytes()
    folded = fold_pixels(content, {"image": one})
    pixels = PIXELS[..., :1]
    found, expected = _run(folded, pixels), _run(content, _values(one, pixels))
    # an input is rounded once more at most, which may move it by a step
    np.testing.assert_allclose(found, expected, atol=2e-6 if scheme in FLOATS else 0.03)
    contents = parse_contents("it", folded)
    assert [(t.name, t.dtype, t.shape) for t in contents.inputs] == [("image", "uint8", (1, 8, 8, 1))]
    assert contents.outputs == parse_contents("it", content).outputs
    assert contents.pixels == {"image": one}
    added = {kind: n - count_ops(content).get(kind, 0) for kind, n in count_ops(folded).items()}
    assert added.get("ADD", 0) == (one is BETWEEN)
    assert sum(added.values()) <= 3
    if one is WHOLE:
        [given] = contents.inputs
        assert given.quantization is not None
        assert (np.float32(given.quantization.scale), given.quantization.zero_point) == (np.float32(1 / 50), 128)


@pytest.mark.parametrize("scheme", ["float32", "dynamic", "int8"])
def test_each_channel_has_its_own_map(scheme: str, equalized: Path) -> None:
    content = (equalized / f"{scheme}.tflite").read_bytes()
    folded = fold_pixels(content, {"image": CHANNELS})
    found, expected = _run(folded, PIXELS), _run(content, _values(CHANNELS, PIXELS))
    np.testing.assert_allclose(found, expected, atol=2e-6 if scheme == "float32" else 0.03)
    known = {operation + 2: exponents for operation, exponents in factors_of(content).items()}  # behind MUL and ADD
    assert factors_of(folded) == known
    assert bool(known) == (scheme == "int8")


@pytest.mark.parametrize("one", [WHOLE, CHANNELS], ids=["whole", "channels"])
def test_a_mixture_of_folded_files_takes_pixels_too(one: PixelMap, equalized: Path) -> None:
    names = ("float32", "int8")
    files = {name: fold_pixels((equalized / f"{name}.tflite").read_bytes(), {"image": one}) for name in names}
    splicer = Splicer(files)
    assert not splicer.left_out
    last = len(splicer.operations) - 1
    mixed = splicer.splice(Mixture((*("int8",) * last, "float32")))
    assert parse_contents("it", mixed).pixels == {"image": one}
    np.testing.assert_allclose(_run(mixed, PIXELS), _run(files["int8"], PIXELS), atol=0.03)


def test_the_runner_reads_the_map_that_was_folded_and_gives_the_pixels_back(converted: Path) -> None:
    content = (converted / "int8.tflite").read_bytes()
    assert find_pixels(content) == {}
    folded = fold_pixels(content, {"image": BETWEEN})
    values = _values(BETWEEN, PIXELS)
    np.testing.assert_array_equal(as_pixels(folded, {"image": values})["image"], PIXELS)
    ends = np.array([[-9.0, 9.0]], np.float32)
    np.testing.assert_array_equal(as_pixels(folded, {"image": ends})["image"], [[0, 255]])


def test_values_of_other_channels_and_damaged_maps_are_refused(equalized: Path) -> None:
    model, _ = unpack(fold_pixels((equalized / "float32.tflite").read_bytes(), {"image": CHANNELS}))
    with pytest.raises(JobError, match="it maps pixels of 2 channels"):
        as_pixels(pack(model), {"image": np.zeros((1, 8, 8, 3), np.float32)})
    model.buffers[model.metadata[-1].buffer].data = np.frombuffer(b'{"image": {}}', np.uint8)
    with pytest.raises(JobError, match="its map of pixels is damaged"):
        find_pixels(pack(model))
    with pytest.raises(EdgetfError, match="edgetf_pixels"):
        pixel_maps(model)


def test_maps_are_for_float_inputs_with_their_channels() -> None:
    image, mask = TensorSpec("image", (1, 8, 8, 3), "float32"), TensorSpec("mask", (1, 8, 8, 1), "uint8")
    assert maps_for({"": CHANNELS}, [replace(image, shape=(1, 8, 8, 2)), mask]) == {"image": CHANNELS}
    for asked, inputs, message in (
        ({"": CHANNELS}, [image], "--pixels has 2 channels, the last axis of 'image' has 3"),
        ({"": WHOLE}, [image, replace(image, name="other")], "it has 2 float32 inputs"),
        ({"": WHOLE}, [mask], "it has 0 float32 inputs"),
        ({"imag": WHOLE}, [image], "the model has no input 'imag'"),
        ({"mask": WHOLE}, [image, mask], "input 'mask' takes uint8"),
    ):
        with pytest.raises(EdgetfError, match=message):
            maps_for(asked, inputs)


def test_samples_that_no_pixels_are_mapped_to_are_refused_and_those_between_two_reported() -> None:
    unit = parse_map("0..1")
    whole = make_samples("s.npz", {"image": _values(unit, PIXELS)}, None)
    assert refuse_other_values({"image": unit}, whole) == ()
    raw = make_samples("s.npz", {"image": PIXELS.astype(np.float32)}, None)
    with pytest.raises(EdgetfError, match=r"'image' is 0 to 255 in s\.npz, but pixels become 0 to 1") as caught:
        refuse_other_values({"image": unit}, raw)
    assert "--pixels" in caught.value.hint
    for other in ("0..255", "mean=0.45 std=0.2"):  # numbers for values in 0..1, not for pixels
        values = _values(parse_map("0..1"), PIXELS) if other == "0..255" else (PIXELS / 255 - 0.45) / 0.2
        small = make_samples("s.npz", {"image": values.astype(np.float32)}, None)
        with pytest.raises(EdgetfError, match=r"all of 'image' in s\.npz is between pixel .* and pixel 1, of 0 to 255"):
            refuse_other_values({"image": parse_map(other)}, small)
    black = make_samples("s.npz", {"image": np.zeros((4, 8, 8, 2), np.float32)}, None)
    assert refuse_other_values({"image": parse_map("0..255")}, black) == ()
    between = make_samples("s.npz", {"image": _values(unit, PIXELS) * np.float32(0.5)}, None)
    [warning] = fractions({"image": unit}, between)
    odd = (PIXELS % 2).mean()
    assert warning.startswith(f"'image' is not made of whole pixels: {odd:.1%} of its values lie between two")


def _values(one: PixelMap, pixels: Numbers) -> Numbers:
    mean, std = (np.array(part, np.float32) for part in (one.mean, one.std))
    return (pixels - mean) / std


def _run(content: bytes, images: Numbers) -> Numbers:
    """The output in floats; floats are quantized for an input that is."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (step, middle) = given["quantization"], result["quantization"]
    rows = []
    for image in images:
        stored = image[None]
        if stored.dtype != given["dtype"]:
            limits = np.iinfo(given["dtype"])
            stored = np.clip(np.rint(stored / scale) + zero, limits.min, limits.max).astype(given["dtype"])
        interpreter.set_tensor(given["index"], stored)
        interpreter.invoke()
        value = interpreter.get_tensor(result["index"])
        rows.append((value.astype(np.float32) - middle) * step if step else value)
    found: Numbers = np.stack(rows)
    return found
