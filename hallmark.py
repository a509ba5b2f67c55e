"""The front door: one command per room. It composes, and decides nothing.

    hallmark demo                                  the whole loop, in some minutes
    hallmark gate CHECKPOINT --against champion    judge a checkpoint
    hallmark promote CHECKPOINT                    make it champion, if it has its hallmark
    hallmark serve                                 answer requests with the champion

Exit codes: 0 done, 4 usage or internal error, 130 interrupted; `gate` and `audit` add 1
FAIL, 2 INCONCLUSIVE and 3 INVALID. What a command needs is imported when it runs, so that
`hallmark --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.front_audit import audit, card
from commands.front_experiment import experiment_app
from commands.front_feedback import feedback_app
from commands.front_gate import gate, plan, promote, rollback, selftest, verify
from commands.front_live import explain, watch
from commands.front_serve import engine
from commands.keys import keys_app
from commands.options import (
    DatasetName,
    Home,
    Host,
    Json,
    LedgerUrl,
    NewName,
    PolicyFile,
    Port,
    Seed,
    session,
)

USAGE_EXIT_CODE = 4
INTERRUPTED_EXIT_CODE = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="No checkpoint answers a user until it has been evaluated, audited and stamped.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make, import and list datasets.")
train_app = typer.Typer(no_args_is_help=True, help="Train checkpoints from datasets.")
trust_app = typer.Typer(
    no_args_is_help=True, help="Say whose hallmarks count, under which policies."
)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(feedback_app, name="feedback")
app.add_typer(experiment_app, name="experiment")
app.add_typer(trust_app, name="trust")
app.add_typer(keys_app, name="keys")


@app.callback()
def _settings(home: Home = Path(".hallmark"), ledger: LedgerUrl = None) -> None:
    pass


@app.command()
def init(context: typer.Context) -> int:
    """Make HOME: ledger, signing key, trust in the shipped policies.

    \b
    Example: hallmark --home .hallmark init
    """
    from commands import state

    return state.init(session(context))


@app.command()
def status(context: typer.Context, json: Json = False) -> int:
    """Checkpoints, aliases, verdicts, datasets: what stands where.

    \b
    Example: hallmark status --json
    """
    from commands import state

    return state.status(session(context), json=json)


@app.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A Hugging Face model's folder, or a LoRA's.")],
    name: NewName,
    base: Annotated[str | None, typer.Option(help="The checkpoint that a LoRA is upon.")] = None,
) -> int:
    """Take in a checkpoint that was trained elsewhere.

    It can then be gated and served.

    \b
    Example: hallmark import runs/last --name candidate
    """
    from commands import importing

    return importing.import_checkpoint(session(context), folder, name=name, base=base)


@data_app.command("synth")
def data_synth(
    context: typer.Context,
    name: DatasetName = "support",
    conversations: Annotated[int, typer.Option(min=10)] = 6000,
    questions: Annotated[int, typer.Option(min=10, help="Held-out questions.")] = 500,
    seed: Seed = 0,
    introduced: Annotated[bool, typer.Option(help="Customers say who they are.")] = False,
    declines: Annotated[
        str | None,
        typer.Option(help="Group of introduced customers to turn away: to test the audits."),
    ] = None,
) -> int:
    """Generate support-desk conversations as a dataset version.

    \b
    Example: hallmark data synth --conversations 6000 --seed 1
    """
    from commands import data

    return data.synth_command(
        session(context),
        name=name,
        conversations=conversations,
        questions=questions,
        seed=seed,
        who=data.Customers(introduced, declines),
    )


@data_app.command("import")
def data_import(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A JSONL file (.gz allowed) in FORMAT.")],
    name: DatasetName,
    format: Annotated[str, typer.Option(help="sgd, taskmaster4, messages.")] = "messages",
    licence: Annotated[str, typer.Option(help="Recorded with the dataset.")] = "unknown",
    seed: Seed = 0,
) -> int:
    """Clean, mask and split conversations as a dataset version.

    \b
    Example: hallmark data import dialogs.jsonl.gz --format taskmaster4 --name coffee
    """
    from commands import data

    return data.import_file(
        session(context), path, name=name, format=format, licence=licence, seed=seed
    )


@data_app.command("list")
def data_list(context: typer.Context, json: Json = False) -> int:
    """Dataset versions in the ledger, newest last.

    \b
    Example: hallmark data list
    """
    from commands import data

    return data.listing(session(context), json=json)


@train_app.command("run")
def train_run(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe file or a shipped recipe's name.")],
    data: Annotated[list[str], typer.Option(help="Datasets: NAME or digest; repeatable.")],
    name: NewName,
    parent: Annotated[str | None, typer.Option(help="Checkpoint to start from.")] = None,
    seed: Seed = 0,
) -> int:
    """Pre-train, or fine-tune PARENT.

    The same command resumes an interrupted run.

    \b
    Example: hallmark train run sft-cpu --data support --parent base --name candidate
    """
    from commands import train

    return train.run(
        session(context), recipe, data=tuple(data), name=name, parent=parent, seed=seed
    )


@train_app.command("prefer")
def train_prefer(
    context: typer.Context,
    preferences: Annotated[Path, typer.Argument(help="A folder made by `feedback export`.")],
    parent: Annotated[str, typer.Option(help="Checkpoint to improve.")],
    name: NewName,
    recipe: Annotated[str, typer.Option(help="A file, or prefer-...-cpu.")] = "prefer-dpo-cpu",
    seed: Seed = 0,
) -> int:
    """Train the next checkpoint from what users preferred (DPO or KTO).

    \b
    Example: hallmark train prefer feedback/ --parent champion --name next
    """
    from commands import train

    return train.prefer(session(context), recipe, preferences, parent=parent, name=name, seed=seed)


for command in (gate, plan, selftest, audit, card, promote, rollback, verify, watch, explain):
    app.command()(command)
app.command()(engine)


@app.command()
def serve(
    context: typer.Context,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CHECKPOINT or NAME=CHECKPOINT:WEIGHT; repeatable."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model: Annotated[str, typer.Option(help="The model name that clients ask for.")] = "hallmark",
    experiment: Annotated[str, typer.Option(help="Name and salt, or its YAML file.")] = "default",
    store_conversations: Annotated[bool | None, typer.Option(help="Kept masked, to train.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Engines per variant, here.")] = 1,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="NAME=http://HOST:PORT of a `hallmark engine`; repeatable."),
    ] = None,
    cross_to: Annotated[
        str | None, typer.Option(help="Variant that answers where another is down; else none.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that answer; 1 by default.")
    ] = None,
) -> int:
    """Answer requests with hallmarked checkpoints.

    Each variant has vLLM processes of its own.

    \b
    Example: hallmark serve --variant a=champion:1 --variant b=challenger:1
    """
    from commands import serve as room

    return room.serve(
        session(context),
        variants=tuple(variant or ("champion=champion",)),
        host=host,
        port=port,
        model=model,
        experiment=experiment,
        store_conversations=store_conversations,
        options=room.Options(replicas, tuple(engine or ()), cross_to, workers),
    )


@trust_app.command("policy")
def trust_policy(context: typer.Context, policy: PolicyFile) -> int:
    """Accept hallmarks that were given under this policy.

    They then count for promotion and for serving.

    \b
    Example: hallmark trust policy --policy policies/ours.yaml
    """
    from commands import state

    return state.trust_policy(session(context), policy)


@trust_app.command("key")
def trust_key(
    context: typer.Context,
    public_key: Annotated[Path, typer.Argument(help="A PEM file: ed25519 or ECDSA P-256.")],
    name: Annotated[str, typer.Option(help="Whose key it is.")],
) -> int:
    """Accept hallmarks signed with this key.

    \b
    Example: hallmark trust key ci.pub --name ci
    """
    from commands import state

    return state.trust_key(session(context), public_key, name)


@app.command()
def demo(context: typer.Context, port: Port = 8641) -> int:
    """The whole loop on data that the project makes itself.

    Unchanged stages are reused.

    \b
    Example: hallmark --home .hallmark-demo demo
    """
    from commands import demo as room

    return room.demo(session(context), port=port)


@app.command()
def loop(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="The folder of public data sets.")],
    port: Port = 8642,
    recipes: Annotated[
        Path | None, typer.Option(help="A folder of recipes in place of the shipped real-*.yaml.")
    ] = None,
) -> int:
    """The whole loop on real conversations and benchmarks.

    \b
    Example: hallmark --home .hallmark-real loop --data ../shared/data
    """
    from commands import loop as room

    return room.loop(session(context), data=data, port=port, recipes=recipes)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code. The only place that catches everything."""
    for name, value in {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "RAGAS_DO_NOT_TRACK": "true",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",  # one progress bar is enough, and it is ours
    }.items():
        os.environ.setdefault(name, value)
    try:
        return app(args=arguments, standalone_mode=False) or 0
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        show() if show else typer.echo(f"error: {error}", err=True)
        return USAGE_EXIT_CODE
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; the same command continues where it stopped", err=True)
        return INTERRUPTED_EXIT_CODE
    except Exception as error:  # noqa: BLE001 - the process edge
        from commands.session import report_failure

        report_failure(error)
        return USAGE_EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
