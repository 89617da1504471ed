from edgetf.convert.worker import meaningful_line


def test_the_first_error_is_told_without_its_location() -> None:
    message = (
        "Traceback\n"
        '<unknown>:0: error: loc(callsite(fused["A:", "b"] at "c")): \'tf.TensorListReserve\' op requires a shape\n'
        "<unknown>:0: note: called from\n"
        "<unknown>:0: error: Lowering tensor list ops is failed."
    )
    assert meaningful_line(message) == "'tf.TensorListReserve' op requires a shape"


def test_without_an_error_line_the_last_line_is_told() -> None:
    assert meaningful_line("first\nlast\n\n") == "last"
    assert meaningful_line("") == "the converter gave no reason"


def test_a_page_becomes_a_line() -> None:
    assert len(meaningful_line("error: " + "x" * 10_000)) == 300
