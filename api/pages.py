"""The description of the API as one page of HTML that needs nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

import orjson

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1e21; }
h2 { font: 600 1.05rem ui-monospace, monospace; border-top: 1px solid #d8dbe0; padding-top: 1.2rem; margin-top: 2rem; }
pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; font-size: .82rem; border-radius: 4px; }
summary { cursor: pointer; } .verb { color: #0b5cad; display: inline-block; min-width: 4.5rem; }
table { border-collapse: collapse; font-size: .88rem; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
"""


def docs_page(description: dict[str, Any]) -> str:
    """A page with every call, its bodies and their examples.

    Args:
        description: an OpenAPI document.
    """
    about = description["info"]
    calls = [_call(path, verb, call) for path, verbs in description["paths"].items() for verb, call in verbs.items()]
    schemas = [_details(name, schema) for name, schema in sorted(description["components"]["schemas"].items())]
    title, version, text = (escape(about.get(key, "")) for key in ("title", "version", "description"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{title} {version}</h1><p>{text} The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(calls)}<h2>Schemas</h2>{''.join(schemas)}</body></html>"
    )


def _call(path: str, verb: str, call: dict[str, Any]) -> str:
    bodies = call.get("requestBody", {}).get("content", {})
    asked = [_details(f"request, {kind}", body.get("example")) for kind, body in bodies.items()]
    answers = call.get("responses", {})
    examples = [
        _details(f"answer {status}, {kind}", body["example"])
        for status, answer in answers.items()
        if status.startswith("2")
        for kind, body in answer.get("content", {}).items()
        if "example" in body
    ]
    rows = "".join(f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>" for status, answer in answers.items())
    text = escape(call.get("description", ""))
    return f'<h2><span class="verb">{verb.upper()}</span>{escape(path)}</h2><p>{text}</p>{"".join(asked + examples)}<table>{rows}</table>'


def _details(title: str, value: Any) -> str:
    shown = escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    return f"<details><summary>{escape(title)}</summary><pre>{shown}</pre></details>"
