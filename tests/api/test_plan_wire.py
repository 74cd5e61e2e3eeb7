"""The wire form of a plan, made without planning."""

import orjson
import pytest

from api.answers import PlanAnswer
from api.plan_wire import AnswerConfig, plan_document, to_json
from maps.reason import Reason, ReasonCode
from models.checkpoint import ModelIdentity
from planner.plan import Plan, PlanStatus, RobotPlan


@pytest.mark.parametrize(
    ("model", "wire"),
    [(None, None), (ModelIdentity("generator", "1.2", "ab" * 32), {"name": "generator", "version": "1.2", "sha256": "ab" * 32})],
)
def test_the_model_is_named_in_full_or_null(model, wire) -> None:
    robot = RobotPlan("a", None, reason=Reason(ReasonCode.NO_PLAN_FOUND, "none"))
    sent = orjson.loads(to_json(plan_document(Plan(PlanStatus.FAILED, 4.0, 7, (robot,), model=model), AnswerConfig())))
    assert sent["model"] == wire
    assert PlanAnswer.model_validate(sent).model == wire
