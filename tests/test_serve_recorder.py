"""Records: batched, masked, never in the way, and counted where they are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.served import RequestRecord
from serve.recorder import Recorder, Served, build, masked_messages


def served(number: int = 0, **changes: Any) -> Served:
    fields: dict[str, Any] = {
        "request_id": f"req-{number}", "experiment": "spring", "variant": "a",
        "checkpoint": "sha256:aa", "unit_digest": None, "pinned": False, "route": "chat",
        "status": 200, "started_at": 0.0, "ttft_ms": None, "duration_ms": 1.0,
        "overhead_ms": 0.1, "prompt_tokens": 1, "completion_tokens": 2, "finish_reason": "stop",
    }  # fmt: skip
    return Served(**{**fields, **changes})


class Store:
    """Collects batches; waits for ``open`` first, and fails the next ``failures`` times."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[list[RequestRecord]] = []
        self.open = threading.Event()
        self.open.set()
        self.failures = failures

    def record_requests(self, records: Sequence[RequestRecord], /) -> None:
        self.open.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        self.batches.append(list(records))


def recorder(store: Store, size: int = 100) -> tuple[Recorder, Series]:
    series = Series(CollectorRegistry())
    made = Recorder(store, series, size=size)
    made.start()
    return made, series


def dropped(series: Series) -> float:
    return series.registry.get_sample_value("hallmark_records_dropped_total") or 0.0


def test_what_was_put_is_written_in_order_and_in_batches():
    store = Store()
    writer, series = recorder(store)
    for number in range(50):
        writer.put(served(number))
    writer.close()
    written = [record.request_id for batch in store.batches for record in batch]
    assert written == [f"req-{number}" for number in range(50)]
    assert len(store.batches) < 50
    assert dropped(series) == 0


def test_a_slow_ledger_holds_nothing_up_and_what_does_not_fit_is_counted():
    store = Store()
    store.open.clear()
    writer, series = recorder(store, size=10)
    writer.put(served())
    time.sleep(0.3)  # the writer has it in hand and waits
    began = time.perf_counter()
    for number in range(1, 31):
        writer.put(served(number))
    assert time.perf_counter() - began < 0.1
    assert dropped(series) == 20
    store.open.set()
    writer.close()
    assert sum(map(len, store.batches)) == 11


def test_a_ledger_that_fails_once_gets_the_batch_again():
    store = Store(failures=1)
    writer, series = recorder(store)
    writer.put(served())
    writer.close()
    assert (sum(map(len, store.batches)), dropped(series)) == (1, 0)


def test_a_ledger_that_keeps_failing_loses_a_counted_batch_and_gets_the_next():
    store = Store(failures=3)
    writer, series = recorder(store)
    writer.put(served(1))
    while dropped(series) == 0:
        time.sleep(0.01)
    writer.put(served(2))
    writer.close()
    assert [record.request_id for batch in store.batches for record in batch] == ["req-2"]
    assert dropped(series) == 1


def test_one_record_that_cannot_be_built_costs_only_itself():
    store = Store()
    writer, series = recorder(store)
    writer.put(served(1, status="none"))
    writer.put(served(2))
    writer.close()
    assert [record.request_id for batch in store.batches for record in batch] == ["req-2"]
    assert dropped(series) == 1


def test_the_variant_of_a_recent_request_is_known_before_it_is_written():
    writer, _ = recorder(Store())
    writer.put(served(7))
    assert writer.variant_of("req-7") == "a"
    assert writer.variant_of("req-8") is None
    writer.close()


def test_question_and_answer_are_masked():
    record = build(
        served(
            messages=[{"role": "user", "content": "write to jane.doe@example.org"}],
            answer=b'{"choices":[{"index":0,"message":{"content":"To jane.doe@example.org?"}}]}',
        )
    )
    assert record.messages is not None
    assert record.messages[0].content == "write to [EMAIL]"
    assert record.answer == "To [EMAIL]?"


def test_text_parts_are_joined_and_other_content_is_not_kept():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    kept = masked_messages([{"role": "developer", "content": parts}])
    assert kept is not None
    assert (kept[0].role, kept[0].content) == ("system", "one\ntwo")
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    assert masked_messages([{"role": "user", "content": image}]) is None
    assert masked_messages([{"role": "tool", "content": "42"}]) is None
    assert masked_messages("hello") is None


def test_the_record_says_why_analysis_leaves_a_request_out_and_what_was_agreed():
    record = build(
        served(excluded="crossed", segments={"plan": "pro"}, purposes=("train",), user="jane")
    )
    assert (record.excluded, record.propensity) == ("crossed", None)
    assert record.segments == {"plan": "pro"}
    assert record.may("train")
    assert not record.may("review")
    assert record.user_digest is not None
    assert "jane" not in record.user_digest


def test_putting_into_a_full_queue_takes_no_time():
    store = Store()
    store.open.clear()
    writer, series = recorder(store, size=10)
    began = time.perf_counter()
    for number in range(20_000):
        writer.put(served(number))
    assert time.perf_counter() - began < 2
    assert dropped(series) >= 20_000 - 10 - 512  # those in the queue and in the batch under way
    store.open.set()
    writer.close()
    assert dropped(series) + sum(map(len, store.batches)) == 20_000


def test_trouble_is_told_while_the_ledger_fails_and_remembered_where_records_were_lost():
    store = Store(failures=2)
    writer, _ = recorder(store)
    assert writer.trouble is None
    writer.put(served(1))
    deadline = time.monotonic() + 5
    while writer.trouble is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.trouble is not None
    assert "OSError" in writer.trouble
    writer.close()
    assert writer.trouble is None  # the third attempt succeeded
    store.failures = 3
    writer.start()
    writer.put(served(2))
    writer.close()
    assert writer.trouble is not None
