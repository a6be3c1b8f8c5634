"""Teaches schemathesis to write a body of one message a line."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def one_line(_context, message):
    return json.dumps(message).encode()
