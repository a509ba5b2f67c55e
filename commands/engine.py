"""`hallmark engine`: one admitted checkpoint's engine, for gateways on other machines."""

from __future__ import annotations

import os

from commands.serve import variant_plan
from commands.session import Session
from commands.state import ensure_trust
from serve.settings import ServingPlan, settings_from_environment


def engine(session: Session, checkpoint: str, *, host: str, port: int, model: str) -> int:
    from serve.engine_server import serve_engine

    ensure_trust(session)
    plan = variant_plan(session, f"engine={checkpoint}")
    settings = settings_from_environment(
        os.environ,
        plan=ServingPlan(model_name=model, variants=(plan,)),
        home=session.home.root,
        ledger_url=session.home.ledger_url,
        host=host,
        port=port,
    )
    serve_engine(settings, os.environ)
    return 0
