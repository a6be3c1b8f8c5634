"""Checks the examples of a served description: each is as its schema says, and no body is without one."""

import json
import sys
import urllib.request

import jsonschema_rs

api = json.load(urllib.request.urlopen(f"{sys.argv[1]}/openapi.json"))
schemas = api["components"]["schemas"]
bodies = 0
wrong = []


def named(schema):
    return schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def check(where, examples, schema):
    draft = "https://json-schema.org/draft/2020-12/schema"
    validator = jsonschema_rs.validator_for({"$schema": draft, "components": {"schemas": schemas}, "allOf": [schema]})
    for example in examples:
        wrong.extend(f"{where}: {error.message}" for error in validator.iter_errors(example))


def walk(where, schema):
    """Every schema within a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("examples"), list):
            check(where, schema["examples"], {key: part for key, part in schema.items() if key != "examples"})
        for key, part in schema.items():
            walk(f"{where}/{key}", part)
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            walk(f"{where}/{index}", part)


walk("schemas", schemas)
for path, item in api["paths"].items():
    for method, operation in item.items():
        sent = [operation["requestBody"]] if "requestBody" in operation else []
        for body in [*sent, *operation["responses"].values()]:
            for kind, content in body.get("content", {}).items():
                bodies += 1
                if not named(content["schema"]).get("examples"):
                    wrong.append(f"{method} {path}: no example of {kind}")
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                check(f"{method} {path} {parameter['name']}", [parameter["example"]], parameter["schema"])
            elif parameter["in"] == "path":
                wrong.append(f"{method} {path}: no example of {parameter['name']}")

print("\n".join(wrong) or f"the examples of {bodies} bodies are as described")
sys.exit(bool(wrong) or bodies == 0)
