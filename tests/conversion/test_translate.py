import pytest

from edgetf.conversion.translate import Translation, meaningful_line, translate


def test_the_first_error_is_reported_without_its_location() -> None:
    message = (
        "Traceback\n"
        '<unknown>:0: error: loc(callsite(fused["A:", "b"] at "c")): \'tf.TensorListReserve\' op requires a shape\n'
        "<unknown>:0: note: called from\n"
        "<unknown>:0: error: Lowering tensor list ops is failed."
    )
    assert meaningful_line(message) == "'tf.TensorListReserve' op requires a shape"


def test_without_an_error_line_the_last_line_is_reported() -> None:
    assert meaningful_line("first\nlast\n\n") == "last"
    assert meaningful_line("") == "the converter gave no reason"


def test_a_page_becomes_a_line() -> None:
    assert len(meaningful_line("error: " + "x" * 10_000)) == 300


@pytest.mark.parametrize(
    ("raw", "message", "hint"),
    [
        (
            "error: loc(x): 'tf.StringUpper' op is neither a custom op nor a flex op\nTF Select ops: StringUpper",
            "TFLite has no StringUpper: it does not support strings",
            "convert strings to numbers before the model runs",
        ),
        (
            "'tf.Betainc' op is neither a custom op nor a flex op\n'tf.Atan' op is neither a custom op nor a flex op",
            "TFLite has no Atan, Betainc",
            "--select-tf-ops",
        ),
        (
            "'tf.TensorListReserve' op requires element_shape to be static during TF Lite transformation pass",
            "a loop or recurrent layer has an unknown shape",
            "--shape",
        ),
        (
            "Quantization to 16x8-bit not yet supported for op: 'DIV'.",
            "DIV has no kernel with 16-bit activations",
            "use int8",
        ),
        ("Empty min/max for tensor while_cond_arg0", "(while_cond_arg0) has no range", "use int8"),
    ],
)
def test_known_messages_have_an_explanation_and_a_hint(raw: str, message: str, hint: str) -> None:
    reported = translate(raw, flex=False)
    assert message in reported.message
    assert hint in reported.hint


def test_an_unknown_message_keeps_its_line_and_has_no_hint() -> None:
    assert translate("first\nerror: something new", flex=False) == Translation("something new", "")


MISSING = "'tf.{0}' op is neither a custom op nor a flex op\n"
USED = '\ttf.{0}(tensor<1x4x{1}>, tensor<{1}>) -> (tensor<1x4x{1}>) : {{device = ""}}\n'


def _lacking(**ops: str) -> str:
    lines = [MISSING.format(name) for name in ops]
    return "".join(["error: ", *lines, "Details:\n", *(USED.format(name, dtype) for name, dtype in ops.items())])


@pytest.mark.parametrize("half", ["f16", "bf16"])
def test_ops_that_are_missing_in_float32_too_are_named_beside_float16(half: str) -> None:
    computes = {"f16": "float16", "bf16": "bfloat16"}[half]
    reason = f"the graph computes in {computes}, and TFLite computes in float32"
    only = translate(_lacking(Conv2D=half), flex=False, computes=f"{computes} and float32")
    assert only.message == reason
    both = translate(_lacking(Conv2D=half, Betainc="f32"), flex=False, computes=f"{computes} and float32")
    assert both.message == f"{reason}; besides, TFLite has no Betainc"
    assert "set_dtype_policy" in both.hint
    assert "for Betainc: --select-tf-ops" in both.hint


def test_a_harmless_cast_to_float16_does_not_hide_the_reason() -> None:
    computes = "float16 and float32"
    assert translate(_lacking(Betainc="f32"), flex=False, computes=computes).message == "TFLite has no Betainc"
    assert translate(MISSING.format("Betainc"), flex=False, computes=computes).message == "TFLite has no Betainc"
    known = translate("Quantization to 16x8-bit not yet supported for op: 'DIV'.", flex=False, computes=computes)
    assert known.message == "DIV has no kernel with 16-bit activations"
    assert "computes in float16" in translate("error: something new", flex=False, computes=computes).message


def test_flex_is_not_recommended_if_it_was_allowed() -> None:
    reported = translate("'tf.StringUpper' op is neither a custom op nor a flex op", flex=True)
    assert reported.message == "neither TFLite nor Flex has StringUpper"
    assert "--select-tf-ops" not in reported.hint
