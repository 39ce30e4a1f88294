"""The tables of the captured change feed and the seeded load that several clients put on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

# EXTERNAL: large documents go out of line without being compressed, however often they repeat themselves.
# FULL: a change of a key carries the old row, the out-of-line values included.
TABLES = """
CREATE TABLE orders (
    order_id bigint PRIMARY KEY,
    customer text NOT NULL,
    status varchar(12) NOT NULL,
    note text,
    amount numeric(18,4),
    quantity integer,
    score double precision,
    paid boolean,
    ordered_on date,
    created_at timestamptz NOT NULL,
    shipped_at timestamp,
    tags text[],
    details jsonb,
    receipt bytea,
    document text
);
ALTER TABLE orders ALTER COLUMN document SET STORAGE EXTERNAL;
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE customers (
    region text, code text, name text, credit numeric(12,2), PRIMARY KEY (region, code)
);
ALTER TABLE customers REPLICA IDENTITY FULL;
"""

KEYS = 6000
CUSTOMERS = [
    "Zoë Müller",
    "李雷",
    "Ólafur Þórsson",
    "O'Neil",
    "Łukasz Żak",
    "محمد",
    "Иван",
    "Ana-María",
    "Smith",
    "𝒳 🜚",
]
STATUSES = ["new", "packed", "sent", "returned", "возврат", ""]
NOTES = [
    "",
    " ",
    "gift",
    'say "hi"',
    "it's",
    "line\nbreak",
    "tab\there",
    "back\\slash",
    "\\N",
    "NULL",
    "ünïcödé",
    "🎁🎀",
    "{}",
]
TAGS = ["{}", "{red}", "{red,blue}", '{"a b","c,d",NULL}', '{"ö\\"quote"}']
START = datetime(2025, 1, 1, 6)


def quoted(value: str | None) -> str:
    """A string as an SQL literal."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


class Client:
    """Writes the script of one client: transactions drawn by weight from what a shop does."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.spare_key = -1_000_000 * (seed + 1)
        self.kinds: list[tuple[int, Callable[[], list[str]]]] = [
            (30, lambda: [self.insert() for _ in range(self.random.randint(1, 4))]),
            (30, lambda: [self.update() for _ in range(self.random.randint(1, 4))]),
            (6, lambda: [self.update_document()]),
            (5, lambda: [self.set_nulls()]),
            (8, lambda: [self.delete(self.key())]),
            (5, self.replace_row),
            (4, self.reinsert_later),
            (5, self.change_key),
            (3, self.swap_keys),
            (4, self.roll_back),
            (2, self.roll_back_to_savepoint),
            (2, lambda: [self.update_range()]),
            (4, lambda: [self.customer()]),
        ]

    def script(self, transactions: int) -> str:
        """The whole script; a failed transaction (a lost race for a key, a deadlock) is rolled back."""
        weights = [weight for weight, _ in self.kinds]
        lines = ["SET client_min_messages = error;"]
        for _, kind in self.random.choices(self.kinds, weights, k=transactions):
            lines += ["BEGIN;", *kind(), "COMMIT;"]
        return "\n".join(lines) + "\n"

    def key(self) -> int:
        """A key that other clients draw as well."""
        return self.random.randint(1, KEYS)

    def document(self) -> str:
        """NULL, short, or so large that it is stored out of line; large ones repeat a few texts."""
        draw = self.random.random()
        if draw < 0.5:
            return "NULL"
        if draw < 0.65:
            return quoted(self.random.choice(["", "short", "kürzer"]))
        text = self.random.choice(["lorem ipsum ", "façade — ", "01234567"])
        return f"repeat({quoted(text)}, {self.random.randint(25, 35) * 10})"

    def values(self, key: int) -> str:
        """A whole row as an SQL tuple, with some columns NULL."""
        random = self.random
        created = START + timedelta(minutes=random.randint(0, 700_000))
        shipped = created + timedelta(seconds=random.randint(0, 9), microseconds=random.choice([0, 1, 250000]))
        details = {
            "n": random.randint(0, 9),
            "city": random.choice(["Köln", "Oslo", ""]),
            "big": 12345678901234567890,
        }
        sign = random.choice(["", "", "-"])
        optional: list[str] = [
            quoted(random.choice(NOTES)),
            f"{sign}{random.randint(0, 10 ** random.choice([2, 4, 13]))}.{random.randint(0, 9999):04d}",
            str(random.randint(-5, 500)),
            repr(random.choice([0.1, -2.5, 1e20, 1 / 3, 5e-324, 100.0])),
            random.choice(["true", "false"]),
            quoted(f"{created:%Y-%m-%d}"),
        ]
        late: list[str] = [
            quoted(f"{shipped:%Y-%m-%d %H:%M:%S.%f}"),
            quoted(random.choice(TAGS)),
            quoted(json.dumps(details, ensure_ascii=False)),
            random.choice(["'\\x'", "'\\x00ff'", "'\\xdeadbeef'"]),
        ]
        fields = [
            str(key),
            quoted(random.choice(CUSTOMERS)),
            quoted(random.choice(STATUSES)),
            *("NULL" if random.random() < 0.1 else value for value in optional),
            quoted(f"{created:%Y-%m-%d %H:%M:%S}+02"),
            *("NULL" if random.random() < 0.3 else value for value in late),
            self.document(),
        ]
        return f"({', '.join(fields)})"

    def insert(self) -> str:
        """An insert; a row that is there already stays, or is updated."""
        action = self.random.choice(["NOTHING", "NOTHING", "UPDATE SET status = excluded.status, note = excluded.note"])
        return f"INSERT INTO orders VALUES {self.values(self.key())} ON CONFLICT (order_id) DO {action};"

    def assignment(self) -> str:
        """An assignment that leaves the document alone."""
        random = self.random
        return random.choice(
            [
                f"status = {quoted(random.choice(STATUSES))}",
                f"quantity = quantity + {random.randint(-3, 3)}",
                f"amount = amount * {random.choice(['1.1', '-1', '0.3333'])}::numeric",
                "paid = NOT paid",
                f"note = {quoted(random.choice(NOTES))}, tags = {quoted(random.choice(TAGS))}",
                "shipped_at = created_at AT TIME ZONE 'UTC' + interval '1.000001 s'",
                f"""details = jsonb_build_object('n', quantity, 'city', {quoted(random.choice(NOTES))})""",
                "status = status",
            ]
        )

    def update(self, key: int | None = None) -> str:
        """An update that leaves the document alone."""
        return f"UPDATE orders SET {self.assignment()} WHERE order_id = {key or self.key()};"

    def update_document(self) -> str:
        """An update that sets the document."""
        assignments = f"document = {self.document()}, {self.assignment()}"
        return f"UPDATE orders SET {assignments} WHERE order_id = {self.key()};"

    def set_nulls(self) -> str:
        """Empties three columns."""
        columns = self.random.sample(
            ["note", "amount", "quantity", "paid", "shipped_at", "tags", "details", "receipt"], 3
        )
        return f"UPDATE orders SET {', '.join(f'{c} = NULL' for c in columns)} WHERE order_id = {self.key()};"

    def delete(self, key: int) -> str:
        """A delete."""
        return f"DELETE FROM orders WHERE order_id = {key};"

    def replace_row(self) -> list[str]:
        """A delete, an insert and an update of one key in one transaction."""
        key = self.key()
        return [self.delete(key), f"INSERT INTO orders VALUES {self.values(key)};", self.update(key)]

    def reinsert_later(self) -> list[str]:
        """A delete and an insert of one key in two transactions."""
        key = self.key()
        return [self.delete(key), "COMMIT;", "BEGIN;", f"INSERT INTO orders VALUES {self.values(key)};"]

    def change_key(self) -> list[str]:
        """A new key for a row; fails where the new one is taken."""
        new, old = self.random.choice([self.key(), self.key() + KEYS]), self.key()
        also = self.random.choice(["", "", f", {self.assignment()}"])
        return [f"UPDATE orders SET order_id = {new}{also} WHERE order_id = {old};"]

    def swap_keys(self) -> list[str]:
        """Two rows exchange their keys, over a spare one, in one transaction."""
        one, other = self.key(), self.key()
        moves = [(one, self.spare_key), (other, one), (self.spare_key, other)]
        return [f"UPDATE orders SET order_id = {new} WHERE order_id = {old};" for old, new in moves]

    def roll_back(self) -> list[str]:
        """Changes that never happened, then one that did."""
        return [self.insert(), self.update(), self.delete(self.key()), "ROLLBACK;", "BEGIN;", self.update()]

    def roll_back_to_savepoint(self) -> list[str]:
        """A transaction of which a part never happened."""
        return [
            self.update(),
            "SAVEPOINT s;",
            self.insert(),
            self.delete(self.key()),
            "ROLLBACK TO s;",
            self.update(),
        ]

    def update_range(self) -> str:
        """One statement over a range of keys."""
        first = self.key()
        return f"UPDATE orders SET {self.assignment()} WHERE order_id BETWEEN {first} AND {first + 40};"

    def customer(self) -> str:
        """A change of the other table."""
        region, code = quoted(self.random.choice(["EU", "ÖST", ""])), quoted(str(self.random.randint(1, 20)))
        where = f"WHERE region = {region} AND code = {code}"
        name = quoted(self.random.choice(CUSTOMERS))
        credit = f"{self.random.randint(-999, 99999)}.{self.random.randint(0, 99):02d}"
        return self.random.choice(
            [
                f"INSERT INTO customers VALUES ({region}, {code}, {name}, {credit}) "
                "ON CONFLICT (region, code) DO UPDATE SET credit = excluded.credit;",
                f"UPDATE customers SET credit = {credit}, name = NULL {where};",
                f"UPDATE customers SET code = code || '+' {where};",
                f"DELETE FROM customers {where};",
            ]
        )


def client_script(seed: int, transactions: int) -> str:
    """The SQL script of one client, the same for the same seed."""
    return Client(seed).script(transactions)
