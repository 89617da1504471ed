from __future__ import annotations

import pytest

from edgetf.units import human_bytes, human_ms, human_times, list_in_words


def test_bytes_have_the_unit_that_keeps_them_short() -> None:
    assert [human_bytes(size) for size in (0, 999, 1000, 228_232, 999_600, 4_400_000_000)] == [
        "0 B", "999 B", "1 kB", "228 kB", "1 MB", "4.4 GB",
    ]  # fmt: skip


def test_times_are_microseconds_below_a_tenth_of_a_millisecond_and_a_range_has_one_unit() -> None:
    assert human_ms(0.0375) == "37.5 µs"
    assert human_ms(0.1013) == "0.101 ms"
    assert human_ms(1234.0) == "1.23 s"
    assert human_ms(0.0359, 0.1203) == "35.9 to 120 µs"
    assert human_ms(999.7, 4760.0) == "1000 to 4760 ms"


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (70.2, "70 times more"),
        (3.33, "3.3 times more"),
        (1 / 3.33, "3.3 times less"),
        (1.12, "12 % more"),
        (1 / 1.12, "11 % less"),
        (11_472 / 16_692, "31 % less"),
        (1.002, "0.2 % more"),
        (1.0, ""),
    ],
)
def test_ratios_are_times_or_percent_of_what_they_are_compared_with(ratio: float, words: str) -> None:
    assert human_times(ratio, "more", "less") == words


def test_names_are_listed() -> None:
    assert [list_in_words(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
