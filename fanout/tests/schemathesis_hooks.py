"""What schemathesis has to be told about the API beyond its description."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def one_line(_context, message):
    """A body of one message a line."""
    return json.dumps(message).encode()


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """The Redis of these calls has no replica and no disk: what asks for one is answered with 503 or 501, as it says."""
    for message in messages(case.body):
        if message.get("durability") in ("replica", "fsync"):
            message["durability"] = "memory"


def messages(body):
    """Those of a call that publishes."""
    items = body.get("items") if isinstance(body, dict) else None
    return [item for item in [body, *(items if isinstance(items, list) else [])] if isinstance(item, dict)]
