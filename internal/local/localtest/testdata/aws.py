"""What the tests in Python share: clients whose raw answers are held against botocore's models (no member
that the model does not have, none missing that it requires), waiting, and the verdict."""
import json
import os
import sys
import time
import xml.etree.ElementTree as ET

import boto3
import botocore
from botocore.exceptions import ClientError

wrong = []

# The models that this AWS is made from: an older botocore does not know all their members.
MODELS = (1, 43, 11)
complete = tuple(int(n) for n in botocore.__version__.split(".")[:3]) >= MODELS


def check_json(op, path, shape, value):
    if value is None:
        return
    if shape.type_name == "structure":
        for k, v in value.items():
            if k in shape.members:
                check_json(op, f"{path}.{k}", shape.members[k], v)
            elif complete:
                wrong.append(f"{op}: {path}.{k} is not in the model")
        for k in shape.required_members:
            if k not in value:
                wrong.append(f"{op}: {path}.{k} is required")
    elif shape.type_name == "list":
        for v in value:
            check_json(op, path + "[]", shape.member, v)
    elif shape.type_name == "map":
        for v in value.values():
            check_json(op, path + "{}", shape.value, v)


def local(tag):
    return tag.rsplit("}", 1)[-1]


def check_xml(op, path, shape, node):
    if shape.type_name == "structure":
        names = {}
        for name, member in shape.members.items():
            s = member.serialization
            if member.type_name == "list" and s.get("flattened"):
                names[member.member.serialization.get("name", s.get("name", name))] = member
            names[s.get("name", name)] = member
        for child in node:
            tag = local(child.tag)
            if tag in ("ResponseMetadata", "requestId"):
                continue
            if tag in names:
                check_xml(op, f"{path}.{tag}", names[tag], child)
            elif complete:
                wrong.append(f"{op}: {path}.{tag} is not in the model")
    elif shape.type_name == "list" and not shape.serialization.get("flattened"):
        item = shape.member.serialization.get("name", "member")
        for child in node:
            if local(child.tag) != item:
                wrong.append(f"{op}: {path} has an item {local(child.tag)}, not {item}")
            else:
                check_xml(op, path + "[]", shape.member, child)


def client(name, **more):
    c = boto3.client(name, endpoint_url=os.environ["AWS_ENDPOINT_URL"], **more)  # an older boto3 does not read it

    def check(http_response, parsed, model, **_):
        if http_response.status_code >= 300 or model.output_shape is None:
            return
        op = f"{name} {model.name}"
        protocol = model.metadata.get("protocol")
        if protocol in ("json", "rest-json"):
            check_json(op, "", model.output_shape, json.loads(http_response.content or b"{}"))
        elif protocol in ("query", "ec2"):
            root = ET.fromstring(http_response.content)
            wrapper = model.output_shape.serialization.get("resultWrapper")
            if wrapper:
                root = next((n for n in root if local(n.tag) == wrapper), root)
            check_xml(op, "", model.output_shape, root)

    c.meta.events.register("after-call", check)
    return c


def same(what, got, want):
    if got != want:
        wrong.append(f"{what} is {got!r}, not {want!r}")


def refused(code, call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        same(f"the error of {e.operation_name}", e.response["Error"]["Code"], code)
    else:
        wrong.append(f"{call.__name__} is not refused with {code}")


def eventually(what, f):
    """The first answer of f that is true, within a minute."""
    until = time.time() + 60
    while time.time() < until:
        answer = f()
        if answer:
            return answer
        time.sleep(0.05)
    wrong.append("not within a minute: " + what)
    verdict()


def verdict():
    print("\n".join(wrong) or "ok")
    sys.exit(1 if wrong else 0)
