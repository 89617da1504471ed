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


def test_flex_is_not_recommended_if_it_was_allowed() -> None:
    reported = translate("'tf.StringUpper' op is neither a custom op nor a flex op", flex=True)
    assert reported.message == "neither TFLite nor Flex has StringUpper"
    assert "--select-tf-ops" not in reported.hint
