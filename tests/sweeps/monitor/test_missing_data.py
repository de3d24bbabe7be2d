"""How missing data sets are obtained, on a screen and in whole."""

from __future__ import annotations

from sweeps.monitor.missing_data import describe_missing_data


def test_missing_data_sets_are_one_line_on_a_screen() -> None:
    missing = {f"set{i}": f"get it at {i}" for i in range(9)}
    assert describe_missing_data(missing, whole=False) == [
        "n/a: set0, set1, set2, set3, set4, set5 and 3 more are missing; "
        "python sweep.py data check shows how to get them"
    ]
    assert describe_missing_data(missing, whole=True)[8] == "n/a: set8: get it at 8"
    one = {"set0": "get it at 0"}
    assert describe_missing_data(one, whole=False, kind="linear probe on ") == [
        "n/a: linear probe on set0: get it at 0"
    ]
