"""Random texts over a schema of all types, and rows with the values that engines are known to disagree on."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from andes_spark.schema.schema import Schema

SCHEMA = Schema.from_ddl(
    """i8 tinyint, i16 smallint, i32 int, i64 bigint, d1 decimal(10,2), d2 decimal(38,10), d3 decimal(38,0),
    d4 decimal(5,5), d5 decimal(12,0), f32 float, f64 double, s string, u string, `a-b` string, p boolean, q boolean,
    day date, dag date, at timestamp, bt timestamp, nt timestamp_ntz, mt timestamp_ntz, x binary, y binary,
    st struct<k: float, T: string, n: struct<z: bigint, at: timestamp>>, ar array<int>, m map<string, int>"""
)
COLUMNS = {
    "number": ["i8", "i16", "i32", "i64", "d1", "d2", "d3", "d4", "d5", "f32", "f64", "st.k", "st.n.z", "I32"],
    "text": ["s", "u", "`a-b`", "st.T", "ST.t"],
    "boolean": ["p", "q", "P"],
    "date": ["day", "dag"],
    "time": ["at", "bt", "st.n.at"],
    "local time": ["nt", "mt"],
    "binary": ["x", "y"],
}
_TOKEN = re.compile(r"'(?:[^']|'')*'|`[^`]*`|\w+|<=>|<>|<=|>=|==|!=|\S")
_STRAY = [
    ",",
    "(",
    ")",
    "NOT",
    "AND",
    "+",
    "-",
    "=",
    "IS",
    "NULL",
    "1",
    "'x'",
    "i32",
    "AS",
    "IN",
    "BETWEEN",
    "LIKE",
    ";",
]
_STRAY += [".", "CASE", "END", "ALL", "ANY", "DISTINCT", "*", "::"]
_SPECIAL: dict[str, list[Any]] = {
    "i8": [-128, 127, 0, 1, -1],
    "i16": [-(2**15), 2**15 - 1, 0, 1, 2],
    "i32": [-(2**31), 2**31 - 1, 0, 1, 2**24 + 1],
    "i64": [-(2**63), 2**63 - 1, 0, 1, 2**53 + 1, 2**53],
    "d1": ["-99999999.99", "99999999.99", "0.00", "1.00", "0.10", "1.50"],
    "d2": ["9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999", "0.1", "1.5", "1"],
    "d3": [str(10**38 - 1), str(1 - 10**38), "0", "1", str(2**53 + 1)],
    "d4": ["0.99999", "-0.99999", "0.10000", "0.00001", "0.50000"],
    "d5": ["999999999999", "-999999999999", "0", "1", "2"],
    "f32": [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 0.1, 0.5, 1.0, 16777216.0, 3.4028234e38],
    "f64": [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 0.1, 0.5, 1.0, 1e308, 5e-324, 2.0**53],
    "text": ["", "a", "A", "ab", "a%", "a_b", "é", "É", "ß", "SS", "İ", "ΑΣ", "a\nb", "it's",
             "😀", "a😀b", "\u0000", "ǆ", "z"],
    "bytes": [b"", b"\x00", b"\xff", b"a", b"\x1f", b"ab"],
    "day": [date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(1582, 10, 4), date(2026, 1, 31)],
    "time": [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1970, 1, 1),
             datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(2026, 1, 31, 12), datetime(1582, 10, 10)],
}  # fmt: skip


def rows(rnd: random.Random, count: int, *, tame: bool = False) -> pa.Table:
    """Rows of ``SCHEMA``; tame ones have numbers so small that arithmetic of any type holds their products."""
    records = [{field.name: _cell(rnd, field.name, tame) for field in SCHEMA.fields} for _ in range(count)]
    return pa.Table.from_pylist(records, schema=SCHEMA.to_arrow())


def _cell(rnd: random.Random, name: str, tame: bool) -> Any:
    if rnd.random() < 0.15:
        return None
    if name == "st":
        inner = None if rnd.random() < 0.2 else {"z": _cell(rnd, "i64", tame), "at": _cell(rnd, "at", tame)}
        return {"k": _cell(rnd, "f32", tame), "T": _cell(rnd, "s", tame), "n": inner}
    if name == "ar":
        return [1, None][: rnd.randint(0, 2)]
    if name == "m":
        return [("a", 1)][: rnd.randint(0, 1)]
    if name in ("p", "q"):
        return rnd.random() < 0.5
    if name in ("s", "u", "a-b"):
        return rnd.choice(_SPECIAL["text"])
    if name in ("x", "y"):
        return rnd.choice(_SPECIAL["bytes"])
    if name in ("day", "dag"):
        return rnd.choice(_SPECIAL["day"])
    if name in ("at", "bt"):
        return rnd.choice(_SPECIAL["time"]).replace(tzinfo=UTC)
    if name in ("nt", "mt"):
        return rnd.choice(_SPECIAL["time"])
    value = rnd.choice(_SPECIAL[name])
    if tame:
        value = rnd.choice([0.5, 0.25, -0.125]) if name == "d4" else rnd.randint(-3, 3)
    if name.startswith("d"):
        return Decimal(str(value))
    return float(value) if name.startswith("f") else value


class Texts:
    """Writes texts; now and then one that engines would read differently."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self._values: dict[str, Callable[[int], str]] = {
            "number": self._number,
            "text": self._text,
            "boolean": lambda depth: self.choice(
                [*COLUMNS["boolean"], "TRUE", "false", f"({self.condition(depth - 1)})"]
            ),
            "date": lambda depth: self.choice([*COLUMNS["date"], *(f"DATE '{day}'" for day in _SPECIAL["day"])]),
            "time": self._time,
            "local time": self._local_time,
            "binary": lambda depth: self.choice([*COLUMNS["binary"], "X'1F'", "x''", "X'ff'", "X'61'"]),
        }  # fmt: skip

    def choice(self, options: list[str]) -> str:
        return self.rnd.choice(options)

    def text(self) -> str:
        """A condition, or what none may be."""
        return self.condition(self.rnd.randint(0, 3))

    def damaged(self) -> str:
        """A short condition of which a word or sign was lost, moved, or replaced by another."""
        tokens = _TOKEN.findall(self.condition(self.rnd.randint(0, 1)))
        at, other = self.rnd.randrange(len(tokens)), self.rnd.randrange(len(tokens))
        form = self.rnd.randint(0, 3)
        if form == 0:
            del tokens[at]
        elif form == 1:
            tokens.insert(at, self.choice(_STRAY))
        elif form == 2:
            tokens[at] = self.choice(_STRAY)
        else:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        return " ".join(tokens)

    def condition(self, depth: int) -> str:
        forms = [self._comparison] * 4 + [self._in, self._between, self._like, self._null, self._truth]
        if depth > 0:
            forms += [self._joined] * 5 + [self._not] * 2 + [self._case]
        return self.rnd.choice(forms)(depth)

    def value(self, kind: str, depth: int) -> str:
        if self.rnd.random() < 0.02:
            return "NULL"
        if depth > 0 and self.rnd.random() < 0.2:
            return self._chosen(kind, depth - 1)
        return self._values[kind](depth)

    def kinds(self) -> tuple[str, str]:
        """Kinds of two values side by side; seldom unlike ones."""
        one = self.rnd.choices(list(COLUMNS), [8, 4, 1, 1, 1, 1, 1])[0]
        return one, self.choice(list(COLUMNS)) if self.rnd.random() < 0.04 else one

    def _comparison(self, depth: int) -> str:
        one, other = self.kinds()
        sign = self.choice(
            ["=", "==", "<>", "!=", "<", "<=", ">", ">=", "<=>", "IS DISTINCT FROM", "is not distinct from"]
        )
        return f"{self.value(one, depth)} {sign} {self.value(other, depth)}"

    def _in(self, depth: int) -> str:
        one, other = self.kinds()
        items = ", ".join(self.value(other, 0) for _ in range(self.rnd.randint(1, 5)))
        return f"{self.value(one, depth)} {self.choice(['IN', 'not in'])} ({items})"

    def _between(self, depth: int) -> str:
        one, other = self.kinds()
        sides = [self.value(kind, depth) for kind in (one, other, one)]
        return f"{sides[0]} {self.choice(['BETWEEN', 'NOT BETWEEN'])} {sides[1]} AND {sides[2]}"

    def _like(self, depth: int) -> str:
        pattern = "".join(self.choice(["%", "_", "a", "b", "é", "😀", "%", "."]) for _ in range(self.rnd.randint(0, 4)))
        escape = ""
        if self.rnd.random() < 0.3:
            pattern, escape = pattern + self.choice(["!%", "!_", "!!", "!a"]), " ESCAPE '!'"
        return f"{self.value('text', depth)} {self.choice(['LIKE', 'not like'])} '{pattern}'{escape}"

    def _null(self, depth: int) -> str:
        value = (
            self.value(self.kinds()[0], depth) if self.rnd.random() < 0.7 else self.choice(["ar", "m", "st", "st.n"])
        )
        return f"{value} {self.choice(['IS NULL', 'is not null'])}"

    def _truth(self, depth: int) -> str:
        return f"{self.value('boolean', depth)} IS {self.choice(['', 'NOT '])}{self.choice(['TRUE', 'false'])}"

    def _joined(self, depth: int) -> str:
        parts = [self.condition(depth - 1) for _ in range(self.rnd.randint(2, 3))]
        parts = [f"({part})" if self.rnd.random() < 0.5 else part for part in parts]
        result = parts[0]
        for part in parts[1:]:
            result += f"{self.choice([' AND ', ' or '])}{part}"
        return result

    def _not(self, depth: int) -> str:
        condition = self.condition(depth - 1)
        condition = f"({condition})" if self.rnd.random() < 0.5 else condition
        return f"{self.choice(['NOT ', 'not ', '!'])}{condition}"

    def _case(self, depth: int) -> str:
        return self._chosen("boolean", depth - 1)

    def _chosen(self, kind: str, depth: int) -> str:
        form = self.rnd.randint(0, 2)
        if form == 0:
            items = ", ".join(self.value(kind, depth) for _ in range(self.rnd.randint(1, 3)))
            return f"{self.choice(['coalesce', 'COALESCE'])}({items})"
        otherwise = f" ELSE {self.value(kind, depth)}" if self.rnd.random() < 0.7 else ""
        if form == 1:
            return f"CASE WHEN {self.condition(depth)} THEN {self.value(kind, depth)}{otherwise} END"
        one, other = self.kinds()
        return f"CASE {self.value(one, 0)} WHEN {self.value(other, 0)} THEN {self.value(kind, depth)}{otherwise} END"

    def _number(self, depth: int) -> str:
        if depth > 0 and self.rnd.random() < 0.35:
            one, other = self._number(depth - 1), self._number(depth - 1)
            form = self.choice(
                ["{} + {}", "{} - {}", "{} * {}", "-({})", "({} + {}) * 2", "{} - {} - 1", "7 - {} * {}", "{} / {}"]
            )
            return f"({form.format(one, other)})"
        if depth > 0 and self.rnd.random() < 0.1:
            return f"length({self.value('text', 0)})"
        return self.choice([*COLUMNS["number"], *COLUMNS["number"], self._literal(), self._literal()])

    def _literal(self) -> str:
        whole = self.choice(["0", "1", "2", "7", "42", "127", "2147483648", "9007199254740993", "9223372036854775807"])
        point = self.choice(["0.1", "1.5", ".5", "1.", "0.10", "99999999.99", "1.5BD", "0.00001", "2.50"])
        double = self.choice(["1e0", "1e-1", "1.5e3", "1D", "1e308", "5e-1", "9007199254740993e0"])
        long = self.choice(["1L", "2S", "3Y", "300Y"])
        digits = self.rnd.choices([whole, point, double, long], [6, 5, 3, 1])[0]
        return f"{self.choice(['', '', '-', '- '])}{digits}"

    def _text(self, depth: int) -> str:
        if depth > 0 and self.rnd.random() < 0.2:
            return f"{self.choice(['lower', 'UPPER', 'Lower', 'upper'])}({self.value('text', depth - 1)})"
        if depth > 0 and self.rnd.random() < 0.05:
            return f"{self.choice(['substr', 'trim', 'concat'])}({self.choice(COLUMNS['text'])})"
        texts = [text for text in _SPECIAL["text"] if text not in ("\u0000", "a\nb")]
        quoted = "'" + self.choice(texts).replace("'", "''") + "'"
        return self.choice([*COLUMNS["text"], quoted, quoted, quoted])

    def _time(self, depth: int) -> str:
        moment: datetime = self.rnd.choice(_SPECIAL["time"])
        zone = self.choice(["Z", " UTC", "+05:30", " -08:00", "", "+01:00"])
        if moment.year in (1, 9999):
            zone = "Z"
        shifted = moment + timedelta(hours={"+05:30": 5.5, " -08:00": -8, "+01:00": 1}.get(zone, 0))
        word = self.choice(["TIMESTAMP", "timestamp", "TIMESTAMP_LTZ"])
        return self.choice([*COLUMNS["time"], *COLUMNS["time"], f"{word} '{shifted.isoformat(' ')}{zone}'"])

    def _local_time(self, depth: int) -> str:
        moment: datetime = self.rnd.choice(_SPECIAL["time"])
        return self.choice([*COLUMNS["local time"], f"TIMESTAMP_NTZ '{moment.isoformat(' ')}'"])
