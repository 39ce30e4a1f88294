"""Conversion of values between types: lossless widening, casts that can fail, and their implementation.

The rules are defined over Arrow arrays, so that they do not depend on the source of the rows:

    narrower number -> wider number      automatic, if the wider type has every value of the narrower one
    unsigned -> integer of its width     automatic, value by value: fails for values that are too large
    number -> number                     tried: fails unless the value is exactly representable
    float, double -> decimal             tried: the shortest number that gives the same float back, exact
    string -> integer, decimal           tried: plain notation, optional minus, exact
    string -> float, double              tried: the same, an exponent, NaN, Infinity, -Infinity; nearest value
    string -> boolean                    tried: true, false
    string -> date                       tried: YYYY-MM-DD
    string -> timestamp                  tried: YYYY-MM-DDTHH:MM:SS[.ffffff] and a zone, Z or +HH[[:]MM]
    string -> timestamp_ntz              tried: the same without a zone
    timestamp_ntz -> date                tried: midnight only
    timestamp_ntz -> timestamp           with the time zone of the options, also for text without a zone: fails for a
                                         local time that a change of clocks skips or repeats
    integer, decimal, boolean -> string  digits in plain notation, all of the scale; true, false

Not converted, since the result would be ambiguous: decimals to floats, floats to strings, dates to timestamps, and
timestamps with a zone to dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.errors import OptionError
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt

Mask = npt.NDArray[np.bool_]

_BITS = {dt.BYTE: 8, dt.SHORT: 16, dt.INTEGER: 32, dt.LONG: 64}
_DIGITS = {dt.BYTE: 3, dt.SHORT: 5, dt.INTEGER: 10, dt.LONG: 19}
_FLOATS = (dt.FLOAT, dt.DOUBLE)
_FROM_STRING = (*_BITS, *_FLOATS, dt.BOOLEAN, dt.DATE, dt.TIMESTAMP, dt.TIMESTAMP_NTZ)

# Holds every decimal(38, s) and every integer, so that ranges can be checked by comparison.
_WIDE = pa.decimal256(76, 38)

_INTEGER = r"^-?[0-9]+$"
_PLAIN = r"^-?0*[0-9]{1,38}(\.[0-9]{0,37}[0-9]0*)?$"
_FLOAT = r"^(-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ]"
    r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9])(?:\.(?P<part>[0-9]{1,6})0*)?"
)
_ZONELESS = r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?$"
_ZONE = r"(?:Z|(?P<sign>[+-])(?P<zone_hour>0[0-9]|1[0-8])(?::?(?P<zone_minute>[0-5][0-9]))?)$"
_DAY_MICROS = 86_400_000_000
_DAY_ONE = -719162  # 0001-01-01, the first day on which Spark, Python and Parquet readers agree
_FIRST_MICRO = _DAY_ONE * _DAY_MICROS
_LAST_MICRO = 253_402_300_800_000_000 - 1  # of the year 9999


@dataclass(frozen=True)
class CastRules:
    """Conversions allowed beyond widening.

    Attributes:
        cast: whether the casts of ``can_try`` are allowed.
        time_zone: zone of local times for ``timestamp`` columns.
        fill: whether nullable fields that a struct lacks are NULL.
    """

    cast: bool = False
    time_zone: str | None = None
    fill: bool = False

    def allow(self, source: dt.DataType, target: dt.DataType) -> bool:
        """Return whether values of ``source`` may be cast to ``target``; values that do not fit fail."""
        if self.time_zone is not None and (source, target) == (dt.TIMESTAMP_NTZ, dt.TIMESTAMP):
            return True
        return self.cast and can_try(source, target)


NO_CASTS = CastRules()


def cast_rules(cast: bool, time_zone: str | None, *, fill: bool = False) -> CastRules:
    """Return the rules of a verb's options.

    Raises:
        OptionError: an unknown time zone.
    """
    if time_zone is not None and not _is_zone(time_zone):
        raise OptionError(
            f'time_zone is a name such as "Europe/Lisbon" or an offset such as "+02:00", and {time_zone!r} is neither',
            option="time_zone",
            value=time_zone,
        )
    return CastRules(cast, time_zone, fill)


def _is_zone(name: str) -> bool:
    """Return whether a name is a time zone: of the time zone database, or an offset such as ``+02:00``."""
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), name)
    except (pa.ArrowInvalid, ValueError):
        return False
    return True


def widens(source: dt.DataType, target: dt.DataType) -> bool:
    """Return whether ``target`` has every value of ``source`` (not nested), so that no cast is needed."""
    if source == target:
        return True
    if isinstance(target, dt.Decimal):
        if isinstance(source, dt.Decimal):
            integral = source.precision - source.scale
            return source.scale <= target.scale and integral <= target.precision - target.scale
        digits = _DIGITS.get(source) if isinstance(source, dt.Primitive) else None
        return digits is not None and digits <= target.precision - target.scale
    if not isinstance(source, dt.Primitive) or not isinstance(target, dt.Primitive):
        return False
    if source in _BITS and target in _BITS:
        return _BITS[source] < _BITS[target]
    return target == dt.DOUBLE and source in (dt.BYTE, dt.SHORT, dt.INTEGER, dt.FLOAT)


def can_try(source: dt.DataType, target: dt.DataType) -> bool:
    """Return whether a cast from ``source`` to ``target`` exists; values that do not fit fail."""
    exact = isinstance(source, dt.Decimal) or source in _BITS
    if isinstance(target, dt.Decimal):
        return exact or source == dt.STRING or source in _FLOATS
    if target == dt.STRING:
        return exact or source == dt.BOOLEAN
    if source == dt.STRING:
        return target in _FROM_STRING
    if target in _BITS:
        return exact or source in _FLOATS
    if source == dt.TIMESTAMP_NTZ:
        return target == dt.DATE
    return target in _FLOATS and (source in _BITS or source in _FLOATS)


def is_unsigned_of_width(arrow: pa.DataType, target: dt.DataType) -> bool:
    """Return whether an unsigned type is at most as wide as an integer type; values are range-checked by the cast."""
    width = _BITS.get(target, 0) if isinstance(target, dt.Primitive) else 0
    return bool(pa.types.is_unsigned_integer(arrow)) and int(arrow.bit_width) <= width


def widen(array: pa.Array, target: dt.DataType) -> pa.Array:
    """Cast values to ``target``, for types that ``widens`` accepts."""
    return array.cast(arrow_types.to_arrow(target))


def try_cast(
    array: pa.Array, source: dt.DataType, target: dt.DataType, time_zone: str | None = None
) -> tuple[pa.Array, Mask]:
    """Cast values to ``target``, with NULL for values that do not fit, for types that ``CastRules`` allow.

    Args:
        array: values in the Arrow type ``arrow_types.to_arrow(source)``.
        source: type of the values.
        target: type of the result.
        time_zone: zone of times without a zone.

    Returns:
        The new array, and True for each value that failed (never for a NULL).
    """
    if isinstance(target, dt.Decimal):
        result = _to_decimal(_wide(array, source), target)
    elif (source, target) == (dt.TIMESTAMP_NTZ, dt.TIMESTAMP):
        result = _in_zone(array, time_zone or "UTC")
    elif source == dt.TIMESTAMP_NTZ:
        result = _midnight_to_date(array)
    elif target == dt.STRING:
        result = _decimal_text(array, source.scale) if isinstance(source, dt.Decimal) else array.cast(pa.string())
    elif source == dt.STRING:
        result = _from_text(array, target, time_zone)
    elif target in _BITS:
        result = _to_integer(array, source, target)
    else:
        result = _to_floating(array, target)
    return result, to_mask(pc.and_(result.is_null(), array.is_valid()))


def to_timestamps(array: pa.Array, time_zone: str) -> tuple[pa.Array, Mask]:
    """Convert local times of a zone; returns are those of ``try_cast``."""
    return try_cast(array, dt.TIMESTAMP_NTZ, dt.TIMESTAMP, time_zone)


def to_mask(booleans: Any) -> Mask:
    """Convert Arrow booleans to a numpy mask, NULL to False."""
    if isinstance(booleans, pa.ChunkedArray):
        booleans = booleans.combine_chunks()
    mask: Mask = np.asarray(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
    return mask


def _keep(condition: Any, array: pa.Array) -> pa.Array:
    """Return the array with NULL where the condition is not true."""
    return pc.if_else(pc.fill_null(condition, False), array, pa.scalar(None, array.type))


def _in_zone(array: pa.Array, zone: str) -> pa.Array:
    """Convert local times of a zone to timestamps; NULL where a change of clocks skips or repeats a time."""
    first = pc.assume_timezone(array, zone, ambiguous="earliest", nonexistent="earliest")
    last = pc.assume_timezone(array, zone, ambiguous="latest", nonexistent="latest")
    return _keep(pc.equal(first, last), first.cast(arrow_types.to_arrow(dt.TIMESTAMP)))


def _midnight_to_date(array: pa.Array) -> pa.Array:
    micros = pc.fill_null(array.cast(pa.int64()), 0).to_numpy()
    days = micros // _DAY_MICROS
    midnight = (micros == days * _DAY_MICROS) & to_mask(array.is_valid())
    return pa.array(days.astype(np.int32), mask=~midnight).cast(pa.date32())


def _floating_text(array: pa.Array) -> pa.Array:
    """Return the shortest text of each number that parses to the same number, in plain notation."""
    text = array.cast(pa.string())
    exponents = pc.match_substring(text, "e")
    if not pc.any(exponents).as_py():
        return text
    plain = [f"{Decimal(number):f}" for number in text.filter(exponents).to_pylist()]
    return pc.replace_with_mask(text, exponents, pa.array(plain, pa.string()))


def _wide(array: pa.Array, source: dt.DataType) -> pa.Array:
    if source in _FLOATS:
        array, source = _floating_text(array), dt.STRING
    if source == dt.STRING:
        # Trailing zeros are dropped, since they could exceed the scale.
        plain = pc.replace_substring_regex(
            _keep(pc.match_substring_regex(array, _PLAIN), array), r"(\.[0-9]*?)0+$", r"\1"
        )
        return pc.utf8_rtrim(plain, ".").cast(_WIDE)
    if isinstance(source, dt.Primitive):
        array = array.cast(pa.decimal128(_DIGITS[source], 0))
    return array.cast(_WIDE)


def _to_decimal(wide: pa.Array, target: dt.Decimal) -> pa.Array:
    largest = f"{'9' * (target.precision - target.scale) or '0'}.{'9' * target.scale or '0'}"
    fits = pc.and_(
        pc.less_equal(pc.abs(wide), pa.scalar(largest).cast(_WIDE)),
        pc.equal(pc.round(wide, ndigits=target.scale, round_mode="towards_zero"), wide),
    )
    return _keep(fits, wide).cast(arrow_types.to_arrow(target))


def _to_integer(array: pa.Array, source: dt.DataType, target: dt.DataType) -> pa.Array:
    assert isinstance(target, dt.Primitive)
    arrow_type = arrow_types.to_arrow(target)
    low, high = -(2 ** (_BITS[target] - 1)), 2 ** (_BITS[target] - 1) - 1
    if source in _FLOATS:
        array = array.cast(pa.float64())
        # The bounds are powers of two, hence exact; high + 1 is itself too large.
        in_range = pc.and_(pc.greater_equal(array, float(low)), pc.less(array, float(high + 1)))
        return _keep(pc.and_(in_range, pc.equal(pc.trunc(array), array)), array).cast(arrow_type)
    if isinstance(source, dt.Decimal) or source == dt.STRING:
        wide = _wide(array, source)
        bounds = (
            pa.scalar(low, pa.decimal128(38, 0)).cast(_WIDE),
            pa.scalar(high, pa.decimal128(38, 0)).cast(_WIDE),
        )
        in_range = pc.and_(pc.greater_equal(wide, bounds[0]), pc.less_equal(wide, bounds[1]))
        whole = pc.equal(pc.round(wide, round_mode="towards_zero"), wide)
        return _keep(pc.and_(in_range, whole), wide).cast(arrow_type)
    array = array.cast(pa.int64())
    return _keep(pc.and_(pc.greater_equal(array, low), pc.less_equal(array, high)), array).cast(arrow_type)


def _to_floating(array: pa.Array, target: dt.DataType) -> pa.Array:
    arrow_type = arrow_types.to_arrow(target)
    if pa.types.is_integer(array.type):
        array = array.cast(pa.int64())
        rounded = array.cast(arrow_type, safe=False)
        # 2^63 is a float but not a long: a long that was rounded up to it must not be cast back.
        back = _keep(pc.less(rounded, pa.scalar(2.0**63, arrow_type)), rounded).cast(pa.int64(), safe=False)
        return _keep(pc.equal(back, array), rounded)
    rounded = array.cast(arrow_type, safe=False)
    exact = pc.or_(pc.equal(rounded.cast(array.type), array), pc.is_nan(array))
    return _keep(exact, rounded)


def _decimal_text(array: pa.Array, scale: int) -> pa.Array:
    # Arrow writes small decimals with an exponent: print the digits as a whole number and insert the point.
    whole = pa.Array.from_buffers(pa.decimal128(38, 0), len(array), array.buffers(), offset=array.offset).cast(
        pa.string()
    )
    if scale == 0:
        return whole
    negative = pc.starts_with(whole, "-")
    digits = pc.utf8_lpad(pc.utf8_ltrim(whole, "-"), scale + 1, "0")
    text = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(digits, 0, -scale), pc.utf8_slice_codeunits(digits, -scale), "."
    )
    return pc.if_else(negative, pc.binary_join_element_wise("-", text, ""), text)


def _from_text(array: pa.Array, target: dt.DataType, time_zone: str | None) -> pa.Array:
    if target in _BITS:
        return _to_integer(_keep(pc.match_substring_regex(array, _INTEGER), array), dt.STRING, target)
    if target in _FLOATS:
        return _text_to_floating(array, arrow_types.to_arrow(target))
    if target == dt.BOOLEAN:
        return _keep(pc.is_in(array, pa.array(["true", "false"])), array).cast(pa.bool_())
    if target == dt.DATE:
        return _text_to_date(_keep(pc.match_substring_regex(array, _DATE), array))
    if target == dt.TIMESTAMP and time_zone is not None:
        zoneless = to_mask(pc.match_substring_regex(array, _ZONELESS))
        local = _text_to_timestamp(_keep(pa.array(zoneless), array), dt.TIMESTAMP_NTZ)
        zoned = _text_to_timestamp(_keep(pa.array(~zoneless), array), target)
        return pc.if_else(pa.array(zoneless), _in_zone(local, time_zone), zoned)
    return _text_to_timestamp(array, target)


def _text_to_floating(array: pa.Array, target: pa.DataType) -> pa.Array:
    values = _keep(pc.match_substring_regex(array, _FLOAT), array).cast(target)
    overflow = pc.and_(pc.is_inf(values), pc.invert(pc.match_substring(array, "Infinity")))
    return _keep(pc.invert(overflow), values)


def _text_to_date(array: pa.Array) -> pa.Array:
    dates = pc.strptime(array, format="%Y-%m-%d", unit="s", error_is_null=True).cast(pa.date32())
    # strptime parses 30 February as 2 March: a date that prints differently was invalid.
    real = pc.and_(pc.equal(dates.cast(pa.string()), array), pc.greater_equal(dates.cast(pa.int32()), _DAY_ONE))
    return _keep(real, dates)


def _text_to_timestamp(array: pa.Array, target: dt.DataType) -> pa.Array:
    zoned = target == dt.TIMESTAMP
    parts = pc.extract_regex(array, _TIME + (_ZONE if zoned else "$"))
    days = _text_to_date(_keep(parts.is_valid(), parts.field("date")))
    micros = _number(days.cast(pa.int32())) * _DAY_MICROS
    for name, unit in (("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000)):
        micros += _digits(parts, name) * unit
    micros += _number(pc.utf8_rpad(parts.field("part"), 6, "0").cast(pa.int64()))
    if zoned:
        shift = _digits(parts, "zone_hour") * 3_600_000_000 + _digits(parts, "zone_minute") * 60_000_000
        micros -= np.where(to_mask(pc.equal(parts.field("sign"), "-")), -shift, shift)
    # A zone offset can shift a time out of the calendar.
    within = (micros >= _FIRST_MICRO) & (micros <= _LAST_MICRO)
    return pa.array(micros, mask=~(to_mask(days.is_valid()) & within)).cast(arrow_types.to_arrow(target))


def _digits(parts: pa.StructArray, name: str) -> npt.NDArray[np.int64]:
    # A group without a match is an empty string, which the padding turns into zeros.
    return _number(pc.utf8_lpad(parts.field(name), 2, "0").cast(pa.int64()))


def _number(array: pa.Array) -> npt.NDArray[np.int64]:
    filled: npt.NDArray[np.int64] = pc.fill_null(array.cast(pa.int64()), 0).to_numpy().copy()
    return filled
