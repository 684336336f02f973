"""What is left out has a count and an example."""

from __future__ import annotations

from tools.files.cells.left_out import LeftOut


def test_each_field_and_cause_has_one_line_with_the_first_example() -> None:
    left_out = LeftOut()
    for _ in range(1_500):
        left_out.given("price")
    for line in range(2, 1_202):
        left_out.add("price", "are no number", f"'?' in line {line}")
    left_out.add("price", "are below 0", "'-1' in line 9")
    left_out.add("features.age", "are no text", "[] in line 3")
    assert left_out.counts() == {"price": 1_201, "features.age": 1}
    assert list(left_out.lines()) == [
        "price: 1,200 of 1,500 are no number, for example '?' in line 2; left out",
        "price: 1 of 1,500 are below 0, for example '-1' in line 9; left out",
        "features.age: 1 of 1 are no text, for example [] in line 3; left out",
    ]
