from edgetf.errors import DeviceError, EdgetfError, ExitCode, nearest


def test_exit_codes_are_those_of_the_manual() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5]
    assert EdgetfError("x").exit_code == 1
    assert DeviceError("x").exit_code == 5


def test_nearest_guesses_a_misspelt_name_and_lists_all() -> None:
    assert nearest("itn8", ["float32", "int8"]) == "did you mean 'int8'? known: float32, int8"
    assert nearest("zzz", ["float32", "int8"]) == "known: float32, int8"
