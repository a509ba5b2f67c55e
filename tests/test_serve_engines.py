"""The supervisor over processes that a test can start in a moment."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from serve import engine_process, keeper
from serve.engines import group_plans
from serve.keeper import backoff_seconds
from serve.settings import VariantPlan
from tests.serving_engine import BROKEN, ENGINE, PATIENCE_SECONDS, rig


async def test_an_engine_is_up_once_it_has_given_a_token(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, variants="ab") as made:
        assert made.a.state == "starting"
        await made.up()
        assert made.value("hallmark_engine_up") == 1
        assert made.value("hallmark_replicas_up") == 1
        assert made.door.checks == []  # what was admitted just now is good for the first start


async def test_a_killed_engine_is_admitted_afresh_and_started_again(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        made.door.open.clear()
        os.kill(made.pids()[-1], signal.SIGKILL)
        await made.until(lambda: made.a.state != "up")
        assert made.value("hallmark_engine_up") == 0
        made.door.open.set()
        await made.up()
        assert made.door.checks == ["a"]
        assert made.value("hallmark_engine_restarts_total") == 1


async def test_weights_changed_under_a_running_server_are_not_started_again(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        made.door.refusal = "variant 'a' is refused: model.safetensors changed"
        os.kill(made.pids()[-1], signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert made.a.reason == "variant 'a' is refused: model.safetensors changed"


async def test_other_weights_in_the_same_folder_are_refused_on_restart(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        made.door.digest = "sha256:bb"
        os.kill(made.pids()[-1], signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert "holds sha256:bb now, and sha256:one-a when the server started" in made.a.reason


async def test_an_engine_that_never_starts_fails_the_server_with_its_last_words(
    monkeypatch, tmp_path
):
    async with rig(monkeypatch, tmp_path, [BROKEN]) as made:
        error = await asyncio.wait_for(asyncio.shield(made.supervisor.failure), PATIENCE_SECONDS)
        assert "ended with code 1 before it answered" in str(error)
        assert str(error).endswith("Cannot load this model")


async def test_one_failed_restart_is_not_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(keeper, "FIRST_BACKOFF_SECONDS", 0.1)
    async with rig(monkeypatch, tmp_path, [ENGINE, BROKEN, ENGINE]) as made:
        await made.up()
        os.kill(made.pids()[-1], signal.SIGKILL)
        await made.until(lambda: made.value("hallmark_engine_restarts_total") == 2)
        await made.up()


async def test_after_the_last_attempt_a_variant_is_given_up_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(keeper, "FIRST_BACKOFF_SECONDS", 0.1)
    async with rig(monkeypatch, tmp_path, [ENGINE, BROKEN]) as made:
        await made.up()
        os.kill(made.pids()[-1], signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert "Cannot load this model" in made.a.reason
        assert not made.supervisor.failure.done()  # other variants go on


def test_each_failure_in_a_row_doubles_the_wait_up_to_half_a_minute():
    assert [backoff_seconds(failures) for failures in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_stopping_leaves_no_process_and_no_socket(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        pid, socket = made.pids()[-1], made.a.socket
        await made.supervisor.stop()
        assert made.a.state == "draining"
        assert not socket.exists()
        assert not Path(f"/proc/{pid}").exists()


async def test_an_engine_that_hangs_is_ended_and_started_again(monkeypatch, tmp_path):
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.5)
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        made.door.open.clear()  # no restart before we have looked
        monkeypatch.setattr(keeper, "PROBE_TIMEOUT_SECONDS", 0.3)
        os.kill(made.pids()[-1], signal.SIGSTOP)  # /health of a real one might still say yes
        await made.until(lambda: made.a.state != "up")
        assert "gave no token 2 times" in made.a.reason
        monkeypatch.setattr(keeper, "PROBE_TIMEOUT_SECONDS", 60.0)
        made.door.open.set()
        await made.up()
        assert len(made.pids()) == 2


async def test_a_variant_with_two_engines_survives_the_loss_of_one(monkeypatch, tmp_path):
    plans = [VariantPlan(name="a", checkpoint=tmp_path / "one", replicas=2)]
    async with rig(monkeypatch, tmp_path, variants=plans) as made:
        await made.up()
        assert made.value("hallmark_replicas_up") == 2
        made.door.open.clear()
        os.kill(made.pids("a-2")[-1], signal.SIGKILL)
        await made.until(lambda: made.value("hallmark_replicas_up") == 1)
        assert made.supervisor.replicas["a"].state == "up"
        [row] = made.supervisor.describe()
        assert {one["engine"]: one["state"] for one in row["replicas"]}["a"] == "up"
        made.door.open.set()
        await made.up()


async def test_engines_of_one_gpu_start_one_after_the_other(monkeypatch, tmp_path):
    monkeypatch.setattr("serve.engines.on_cpu", lambda: False)
    slow = "import time; time.sleep(0.4)\n" + ENGINE
    async with rig(monkeypatch, tmp_path, [slow], "abc") as made:
        seen: list[tuple[int, int]] = []

        def all_up() -> bool:
            states = [one.state for one in made.supervisor.replicas.values()]
            seen.append((len(made.starts), states.count("up")))
            return states.count("up") == 3

        await made.until(all_up)
        # No engine was started before all that were started earlier had given a token.
        assert all(started <= up + 1 for started, up in seen)


def plan(name: str, folder: str, base: str | None = None) -> VariantPlan:
    return VariantPlan(name=name, checkpoint=Path(folder), base=Path(base) if base else None)


def test_adapters_of_one_base_share_its_engine_and_nobody_else_does():
    base, one, two = plan("b", "/base"), plan("x", "/x", "/base"), plan("y", "/y", "/base")
    assert group_plans([base, one, two]) == [(base, one, two)]
    assert group_plans([one, two]) == [(one, two)]
    again, other = plan("c", "/other"), plan("d", "/other")  # an A/A test wants two engines
    assert group_plans([again, other, one]) == [(one,), (again,), (other,)]


async def test_adapters_get_names_of_their_own_beside_their_base(monkeypatch, tmp_path):
    plans = [
        VariantPlan(name="b", checkpoint=tmp_path / "base"),
        VariantPlan(name="x", checkpoint=tmp_path / "x", base=tmp_path / "base"),
    ]
    async with rig(monkeypatch, tmp_path, variants=plans) as made:
        await made.up()
        base, adapter = made.supervisor.upstreams["b"], made.supervisor.upstreams["x"]
        assert (base.model, adapter.model) == (None, "support@x")
        assert base.socket == adapter.socket
        assert made.starts == ["base"]
        assert (base.checkpoint, adapter.checkpoint) == ("sha256:base", "sha256:x")


def test_the_engine_of_adapters_is_told_their_names_and_the_rank_that_fits(monkeypatch, tmp_path):
    from tests.test_serve_engine_process import settings

    for name, rank in (("x", 4), ("y", 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(f'{{"r": {rank}}}')
    what = engine_process.launch(
        settings(tmp_path), tmp_path / "base", Path("/tmp/s"), tmp_path / "log",
        cores=(0,), environ={}, cpu=True,
        adapters={"m@x": tmp_path / "x", "m@y": tmp_path / "y"},
    )  # fmt: skip
    at = what.command.index("--lora-modules")
    assert what.command[at + 1 : at + 3] == (f"m@x={tmp_path / 'x'}", f"m@y={tmp_path / 'y'}")
    assert what.command[what.command.index("--max-lora-rank") + 1] == "32"
    assert "--enable-lora" in what.command


@pytest.mark.parametrize("text", ["{}", "no json", '{"r": 1000}'])
def test_an_adapter_without_a_rank_that_vllm_can_serve_says_so(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(engine_process.UserError, match=r"adapter_config\.json"):
        engine_process.lora_rank(tmp_path)
