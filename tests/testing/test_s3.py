"""The ruler itself: rounds, delays, and what is counted before and after the caller has its answer."""

from __future__ import annotations

import threading
import time
import urllib.request

import pytest

from andes_spark.testing.s3 import FaultProxy, Meter, Request, S3Server, rounds

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("spans", "chain"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (1, 2), (2, 3)], 3),
        ([(0, 1), (0, 1), (0, 1)], 1),
        ([(0, 10), (1, 2), (3, 4)], 2),
        ([(0, 3), (2, 5), (4, 6)], 2),
    ],
)
def test_rounds_are_the_longest_chain(spans: list[tuple[float, float]], chain: int) -> None:
    assert rounds([Request(begin, end, "GET", "/") for begin, end in spans]) == chain


@pytest.fixture
def proxy(s3_server: S3Server):
    with FaultProxy(s3_server, delay=0.025) as proxy:
        yield proxy


def ask(proxy: FaultProxy) -> None:
    with urllib.request.urlopen(f"{proxy.endpoint}/_ministack/health"):
        pass


def test_a_request_takes_the_delay_and_no_more_than_the_server(proxy: FaultProxy) -> None:
    meter = Meter(proxy)
    spans = []
    for _ in range(5):
        with meter.verb():
            ask(proxy)
        spans.append(meter.cost.seconds)
    assert min(spans) >= 0.025
    assert min(spans) < 0.065


def test_requests_side_by_side_are_one_round(proxy: FaultProxy) -> None:
    meter = Meter(proxy)
    with meter.verb():
        threads = [threading.Thread(target=ask, args=(proxy,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ask(proxy)
    assert (meter.cost.requests, meter.cost.rounds, meter.cost.later) == (5, 2, 0)
    assert meter.cost.kinds == {"GET": 5}


def test_requests_after_the_answer_are_counted_apart(proxy: FaultProxy) -> None:
    meter = Meter(proxy)
    with meter.verb():
        ask(proxy)
        thread = threading.Thread(target=ask, args=(proxy,))
        thread.start()
        time.sleep(0.005)
    thread.join()
    assert (meter.cost.requests, meter.cost.later) == (1, 1)
