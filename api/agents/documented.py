"""What the API's description says about the calls of agents."""

from __future__ import annotations

from typing import Any

from api.agents import examples
from api.agents.wire import ActAnswer, AgentsAnswer
from api.documented import BODY_ERRORS, GATE, described_answer, described_body, described_problems

AGENTS: dict[str, Any] = {"responses": described_answer(AgentsAnswer, examples.AGENTS_ANSWER) | described_problems(*GATE)}
ACT: dict[str, Any] = {
    "responses": described_answer(ActAnswer, examples.ACT_ANSWER) | described_problems(*BODY_ERRORS),
    "openapi_extra": described_body("ActRequest", examples.ACT_REQUEST),
}
STREAM: dict[str, Any] = {
    "x-websocket": {
        "/v1/agents/stream": {
            "description": "send states, receive actions: one message a tick; a message with `problem` tells what is wrong with a state",
            "receives": {"schema": {"$ref": "#/components/schemas/FleetRequest"}, "example": examples.STREAM_STATE},
            "sends": {"schema": {"$ref": "#/components/schemas/StreamedAction"}, "example": examples.STREAM_MESSAGE},
        }
    }
}
