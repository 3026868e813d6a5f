"""What is a number, and how it is written plainly."""

from common.measure.numbers import read_number

import pytest


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,23", None),
        ("x=20, y=18", None),
        ("-$1,234.50", "-1234.50"),
        ("$-5", "-5"),
        ("--5", None),
        ("5.", "5"),
        (".5", "0.5"),
        (".", None),
        ("1/2 cup", "1/2"),
        ("1/0", None),
        ("18 miles per hour", "18"),
        ("18 km/h", "18"),
        ("18 thousand", "18000"),
        ("18K", "18000"),
        ("18 kg", "18"),
        ("6:30", None),
        ("3 1/2", "3.5"),
        ("3 5/2", None),
        ("1 234", "1234"),
        ("12,34,567", "1234567"),
        ("1'234", "1234"),
        ("$18m", "18000000"),
        ("18 m", "18"),
        ("18千克", "18"),
        ("18万円", "180000"),
        ("1万2千円", "12000"),
        ("3만 5,000원", "35000"),
        ("1億2000万", "120000000"),
        ("1千2千", None),
        ("2.5 dozen", "30"),
        ("RM9.00", "9.00"),
        ("18 x", None),
        ("18 π", None),
        ("18 is not right", None),
        ("18 and a half", None),
        ("18 quarters", None),
        ("12 34", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_what_is_a_number(text: str, number: str | None):
    assert read_number(text) == number
