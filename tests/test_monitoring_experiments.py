"""What an experiment's read-out says and what it leaves out."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from monitoring.experiments import Estimate, ExperimentError, ReadOut, ReadOutOptions, read_out
from registry.served import FeedbackRecord, RequestRecord

START = datetime(2026, 5, 1, tzinfo=UTC)
EVEN = {"a": 0.5, "b": 0.5}


def request(number: int, variant: str, unit: str | None, **changes: object) -> RequestRecord:
    fields: dict[str, object] = {
        "request_id": f"r{number}",
        "experiment": "spring",
        "variant": variant,
        "checkpoint": f"sha256:{variant * 64}"[:71],
        "unit_digest": unit,
        "pinned": False,
        "route": "/v1/chat/completions",
        "status": 200,
        "started_at": START + timedelta(seconds=number),
        "ttft_ms": 10.0,
        "duration_ms": 50.0,
        "overhead_ms": 1.0,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "finish_reason": "stop",
    }
    return RequestRecord.model_validate(fields | changes)


def thumb(number: int, value: int, *, later_seconds: int = 0) -> FeedbackRecord:
    return FeedbackRecord(
        feedback_id=f"f{number}-{later_seconds}",
        request_id=f"r{number}",
        kind="thumb",
        value=value,
        created_at=START + timedelta(seconds=number + later_seconds),
    )


def experiment(
    ups: dict[str, tuple[int, int]], *, silent: int = 0, options: ReadOutOptions | None = None
) -> ReadOut:
    """One request and one thumb per unit: ``ups[variant]`` is (thumbs up, units)."""
    requests, thumbs, number = [], [], 0
    for variant, (num_up, num_units) in ups.items():
        for position in range(num_units + silent):
            number += 1
            requests.append(request(number, variant, f"u{number}"))
            if position < num_units:
                thumbs.append(thumb(number, 1 if position < num_up else -1))
    return read_out(EVEN, requests, thumbs, options)


def test_an_arm_counts_units_thumbs_and_silence():
    requests = [
        request(1, "a", "ann"),
        request(2, "a", "ann", ttft_ms=30.0, duration_ms=90.0),
        request(3, "a", "bob", ttft_ms=None, duration_ms=70.0),
        request(4, "a", "eve", status=503, ttft_ms=None, duration_ms=1.0),
        request(5, "b", "joe"),
    ]
    found = read_out(EVEN, requests, [thumb(1, 1), thumb(2, -1), thumb(3, 1)])
    arm = found.arms[0]
    assert (arm.requests, arm.errors, arm.units) == (4, 1, 3)
    assert (arm.thumbs_up, arm.thumbs_down, arm.rating_units) == (2, 1, 2)
    # Ann's two answers are one voice of one half; Bob's is one: (1/2 + 1) / 2.
    assert arm.thumbs_up_share == 0.75
    assert arm.response_rate == pytest.approx(2 / 3)
    # Medians of the answered: of 10 and 30, and of 50, 90 and 70.
    assert (arm.median_ttft_ms, arm.median_duration_ms) == (20.0, 70.0)


def test_an_arm_without_thumbs_is_undefined_and_not_zero():
    found = read_out(EVEN, [request(1, "a", "ann")], [])
    assert found.arms[0].thumbs_up_share is None
    assert found.arms[0].thumbs_up_interval is None
    assert found.arms[1].response_rate is None
    assert found.arms[1].median_ttft_ms is None
    assert found.decision == "continue"


def test_a_changed_mind_counts_once():
    requests = [request(1, "a", "ann"), request(2, "b", "bob")]
    found = read_out(EVEN, requests, [thumb(1, -1, later_seconds=9), thumb(1, 1)])
    assert (found.arms[0].thumbs_up, found.arms[0].thumbs_down) == (0, 1)


def test_pinned_unitless_foreign_and_crossing_requests_are_left_out_and_counted():
    requests = [
        request(1, "a", "ann", pinned=True),
        request(2, "a", None),
        request(3, "z", "zoe"),
        request(4, "a", "cid"),
        request(5, "b", "cid"),
        request(6, "b", "bob"),
    ]
    found = read_out(EVEN, requests, [thumb(n, 1) for n in range(1, 7)])
    assert [arm.requests for arm in found.arms] == [0, 1]
    assert [arm.thumbs_up for arm in found.arms] == [0, 1]
    assert (found.pinned_requests, found.requests_without_unit) == (1, 1)
    assert (found.requests_outside_plan, found.units_in_several_arms) == (1, 1)
    assert found.warnings == ("1 units were answered by several arms and are left out",)


def test_the_interval_of_an_arm_is_the_exact_always_valid_one():
    # 700 of 1,000 tuned at 100 observations per arm: confseq's (.651629, .745949).
    options = ReadOutOptions(num_expected_units=200)
    found = experiment({"a": (700, 1000), "b": (700, 1000)}, options=options)
    assert found.arms[0].thumbs_up_interval == pytest.approx((0.651629, 0.745949), abs=1e-6)


def test_a_clearly_better_challenger_ships():
    found = experiment({"a": (200, 400), "b": (280, 400)})
    assert found.decision == "ship"
    assert found.reason.startswith("b is better than a in thumbs_up (+0.200, always-valid [+0.")


def test_a_clearly_worse_challenger_stops():
    assert experiment({"a": (280, 400), "b": (200, 400)}).decision == "stop"


def test_a_small_difference_goes_on():
    found = experiment({"a": (200, 400), "b": (208, 400)})
    assert found.decision == "continue"
    assert "still holds 0" in found.reason


def test_equal_arms_with_enough_units_end_without_a_difference():
    found = experiment({"a": (4000, 8000), "b": (4010, 8000)})
    assert found.decision == "no-difference"
    assert found.reason.startswith("b and a differ by less than 0.05")


def test_a_handful_of_thumbs_decides_nothing():
    found = experiment({"a": (0, 29), "b": (29, 29)})
    assert found.decision == "continue"
    assert "29 units with thumbs_up" in found.reason


def test_thumbs_that_are_all_alike_decide_nothing():
    found = experiment({"a": (50, 50), "b": (50, 50)})
    assert found.decision == "continue"
    assert "alike so far: no interval" in found.reason


def test_a_broken_split_stops_before_any_difference_is_believed():
    # GrowthBook's alarm is .001: chi-square of 400 against 280 is 21.2, p = 4e-6.
    found = experiment({"a": (200, 400), "b": (280, 280)})
    assert found.srm_p == pytest.approx(math.erfc(math.sqrt((120**2 / 680) / 2)))
    assert found.decision == "stop"
    assert found.reason.startswith("sample ratio mismatch (p = 4.2e-06)")


def test_a_win_does_not_ship_where_one_arm_is_more_silent():
    # 500 units in each arm; 400 of a's and 250 of b's give a thumb.
    requests, thumbs = [], []
    for number in range(1000):
        variant, position = ("a", number) if number < 500 else ("b", number - 500)
        requests.append(request(number, variant, f"u{number}"))
        voices, num_up = (400, 200) if variant == "a" else (250, 225)
        if position < voices:
            thumbs.append(thumb(number, 1 if position < num_up else -1))
    found = read_out(EVEN, requests, thumbs)
    assert found.comparisons[0].decision == "ship"
    assert found.decision == "continue"
    assert "different rates" in found.reason
    assert "different rates" in found.warnings[0]


def test_several_challengers_share_the_error_rate():
    requests, thumbs, number = [], [], 0
    for variant, num_up in (("a", 200), ("b", 200), ("c", 290)):
        for position in range(400):
            number += 1
            requests.append(request(number, variant, f"u{number}"))
            thumbs.append(thumb(number, 1 if position < num_up else -1))
    pair = read_out({"a": 1, "c": 1}, requests, thumbs).comparisons[0]
    found = read_out({"a": 1, "b": 1, "c": 1}, requests, thumbs)
    both = found.comparisons[1]
    assert found.decision == "ship"
    assert [c.challenger for c in found.comparisons] == ["b", "c"]
    assert pair.interval is not None
    assert both.interval is not None
    assert both.interval[0] < pair.interval[0]


def test_an_arm_of_weight_zero_is_shown_and_not_compared():
    requests = [request(n, "ab"[n % 2], f"u{n}") for n in range(20)]
    found = read_out({"a": 1.0, "b": 0.0}, requests, [])
    assert (found.srm_p, found.comparisons, found.decision) == (1.0, (), "continue")
    assert found.arms[1].requests == 10


def test_a_checkpoint_that_changed_under_way_is_warned_of():
    requests = [request(1, "a", "ann"), request(2, "a", "bob", checkpoint="sha256:new")]
    assert "arm a answered with 2 checkpoints" in read_out(EVEN, requests, []).warnings[0]


@pytest.mark.parametrize("weights", [{}, {"a": -1.0, "b": 2.0}, {"a": 0.0}])
def test_a_plan_without_weight_says_what_to_correct(weights):
    with pytest.raises(ExperimentError, match="correct the weights"):
        read_out(weights, [], [])


def many(weights: dict[str, int], **changes: object) -> list[RequestRecord]:
    """So many units of each variant, with one request each."""
    number, made = 0, []
    for variant, count in weights.items():
        for _ in range(count):
            number += 1
            made.append(request(number, variant, f"u{number}", **changes))
    return made


def estimate(found: ReadOut, metric: str, variant: str, segment: str | None = None) -> Estimate:
    [row] = [
        one
        for one in found.estimates
        if (one.metric, one.variant, one.segment) == (metric, variant, segment)
    ]
    return row


def test_excluded_requests_are_counted_by_reason_and_enter_no_arm():
    requests = [
        request(1, "a", "ann", excluded="holdout"),
        request(2, "a", "bob", excluded="ramp"),
        request(3, "a", "cid", excluded="stopped"),
        request(4, "b", "dan", excluded="crossed"),
        request(5, "c", "eve", excluded="shadow", shadow_of="r6"),
        request(6, "a", "eve"),
    ]
    found = read_out(EVEN, requests, [])
    assert found.excluded == {"crossed": 1, "holdout": 1, "ramp": 1, "stopped": 1}
    assert [arm.requests for arm in found.arms] == [1, 0]


def test_a_unit_that_was_held_back_by_the_ramp_is_no_crossover_later():
    requests = [request(1, "a", "ann", excluded="ramp"), request(2, "b", "ann")]
    found = read_out(EVEN, requests, [])
    assert found.units_in_several_arms == 0
    assert [arm.units for arm in found.arms] == [0, 1]


def test_each_metric_is_shown_for_each_arm_in_all_units_and_in_each_segment():
    requests = [
        request(n, "ab"[n % 2], f"u{n}", segments={"plan": "paid" if n < 80 else "free"},
                completion_tokens=10 + n % 2)
        for n in range(200)
    ]  # fmt: skip
    found = read_out(EVEN, requests, [], ReadOutOptions(segments=("plan",)))
    row = estimate(found, "completion_tokens", "b", "plan=free")
    assert (row.units, row.mean, row.difference) == (60, 11.0, None)
    assert {one.segment for one in found.estimates} == {None, "plan=free", "plan=paid"}
    errors = estimate(found, "errors", "a")
    assert (errors.units, errors.mean) == (100, 0.0)
    assert errors.interval is not None
    assert errors.interval[0] == 0.0


def test_a_difference_beside_the_primary_one_has_its_always_valid_interval():
    requests = [
        request(n, "ab"[n % 2], f"u{n}", completion_tokens=10 * (1 + n % 2) + n % 3)
        for n in range(600)
    ]
    row = estimate(read_out(EVEN, requests, []), "completion_tokens", "b")
    assert row.difference == pytest.approx(10, abs=0.2)
    assert row.difference_interval is not None
    assert row.difference_interval[0] > 9
    assert row.withheld is None


def test_latency_is_not_compared_between_arms_under_unequal_load():
    requests = many({"a": 120, "b": 60})
    row = estimate(read_out({"a": 2, "b": 1}, requests, []), "ttft_ms", "b")
    assert row.mean == 10.0
    assert row.difference is None
    assert row.withheld is not None
    assert row.withheld.startswith(
        "the arms were not under equal load (time spent answering: a 6 s, b 3 s)"
    )


def test_latency_is_compared_in_separate_pools_or_under_equal_load():
    def noisy(weights: dict[str, int]) -> list[RequestRecord]:
        return [
            one.model_copy(update={"ttft_ms": 10.0 + n % 5}) for n, one in enumerate(many(weights))
        ]

    apart = ReadOutOptions(separate_pools=True)
    row = estimate(
        read_out({"a": 2, "b": 1}, noisy({"a": 120, "b": 60}), [], apart), "ttft_ms", "b"
    )
    assert row.difference == 0.0
    even = estimate(read_out(EVEN, noisy({"a": 60, "b": 60}), []), "ttft_ms", "b")
    assert (even.difference, even.withheld) == (0.0, None)


def test_another_metric_decides_where_it_is_the_primary_one_and_less_may_be_better():
    requests = [
        request(n, "ab"[n % 2], f"u{n}", status=500 if n % 2 == 0 and n % 20 < 10 else 200)
        for n in range(800)
    ]
    found = read_out(EVEN, requests, [], ReadOutOptions(primary="errors"))
    assert found.decision == "ship"
    assert found.reason.startswith("b is better than a in errors (-0.500")


def test_a_scorer_of_answers_is_a_metric():
    requests = many({"a": 100, "b": 100})
    scores = {r.request_id: {"toxicity": 0.9 if r.variant == "b" else 0.1} for r in requests}
    found = read_out(EVEN, requests, [], ReadOutOptions(metrics=("score:toxicity",)), scores=scores)
    assert estimate(found, "score:toxicity", "b").mean == pytest.approx(0.9)


def test_a_metric_that_there_is_not_lists_those_there_are():
    with pytest.raises(ExperimentError, match="no metric named 'vibes'; have completion_tokens"):
        read_out(EVEN, [], [], ReadOutOptions(primary="vibes"))


def test_history_before_the_ramp_narrows_the_interval():
    # Each unit is content or not before; in the experiment half of the discontent change their
    # mind. In each arm the correlation's square is 1/3, so two thirds of the variance stay.
    before, during, thumbs, number = [], [], [], 0
    for unit in range(400):
        variant, content = "ab"[unit % 2], unit % 4 < 2
        for records, excluded in ((before, "ramp"), (during, None)):
            number += 1
            shown = "a" if excluded else variant
            records.append(request(number, shown, f"u{unit}", excluded=excluded))
            change = unit % 8 < 6 or records is before
            thumbs.append(thumb(number, 1 if content == change else -1))
    plain = read_out(EVEN, during, thumbs).comparisons[0]
    found = read_out(EVEN, before + during, thumbs).comparisons[0]
    assert plain.variance_kept is None
    assert found.variance_kept == pytest.approx(2 / 3, abs=0.01)
    assert plain.interval is not None
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] < plain.interval[1] - plain.interval[0]


def test_the_required_sample_is_that_for_the_smallest_effect_from_the_control():
    # power.prop.test(p1 = .5, p2 = .55, power = .8): n = 1564.672.
    found = experiment({"a": (200, 400), "b": (208, 400)})
    assert found.required_units_per_arm == 1565
    assert experiment({"a": (1, 2), "b": (1, 2)}).required_units_per_arm is None


def test_a_shadow_is_compared_on_the_same_prompts_and_counts_in_no_arm():
    live = many({"a": 50, "b": 50})
    shadows = [
        request(1000 + n, "c", one.unit_digest, excluded="shadow", shadow_of=one.request_id,
                completion_tokens=8)
        for n, one in enumerate(live)
    ]  # fmt: skip
    lost = request(5000, "c", "zoe", excluded="shadow", shadow_of="r4999")
    found = read_out(EVEN, [*live, *shadows, lost], [])
    assert [arm.units for arm in found.arms] == [50, 50]
    [tokens] = [row for row in found.pairs if row.metric == "completion_tokens"]
    assert (tokens.other, tokens.num_pairs, tokens.difference) == ("c", 100, 3.0)
    assert tokens.higher_share == 1.0


def test_shares_that_changed_under_way_leave_the_sample_ratio_untested():
    requests = [
        request(n, "ab"[n % 2], f"u{n}", propensity=0.5 if n < 50 else 0.2) for n in range(100)
    ]
    found = read_out(EVEN, requests, [])
    assert found.srm_p is None
    assert "weights changed under way" in found.warnings[0]


def test_a_read_out_survives_its_own_json():
    found = experiment({"a": (20, 40), "b": (30, 40)})
    assert ReadOut.model_validate_json(found.model_dump_json()) == found
