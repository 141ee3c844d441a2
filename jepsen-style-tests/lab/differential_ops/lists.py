"""Lists of operations as files: a line each, JSON, after a first line that says what the list is about."""

import json
import os

from .operations import Actor
from .users import USERS


class ListError(Exception):
    """A file that is no list of operations."""


class OperationList:
    """Operations under a name."""

    def __init__(self, name, operations, about="", has_pace=True):
        self.name = name
        self.operations = operations
        self.about = about
        # Whether time passes between its operations; long ones take too long otherwise.
        self.has_pace = has_pace

    def with_operations(self, operations):
        """Others under the same name."""
        return OperationList(self.name, operations, self.about, self.has_pace)

    def text(self):
        """The file."""
        lines = [json.dumps({"about": self.about} | ({} if self.has_pace else {"pace": False}))]
        lines += [json.dumps(operation, ensure_ascii=False) for operation in self.operations]
        return "\n".join(lines) + "\n"


def check(operation):
    """Raises `ListError` unless it can be carried out."""
    if operation.get("op") != "undelete" and not hasattr(Actor, f"do_{operation.get('op')}"):
        raise ListError(f"no operation '{operation.get('op')}'")
    if "then" in operation:
        check(operation["then"])
    if operation.get("as", "root") not in USERS:
        raise ListError(f"no user '{operation['as']}'")
    if operation.get("mount", 1) not in (1, 2):
        raise ListError(f"no mount {operation['mount']}")
    for path in (operation.get("path"), operation.get("to"), *operation.get("paths", [])):
        if path is not None and (path.startswith("/") or ".." in path.split("/")):
            raise ListError(f"'{path}' leads out of the list's directory")


def read(path):
    """A list from its file."""
    operations, about, has_pace = [], "", True
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                found = json.loads(line)
                if "op" in found:
                    check(found)
                    operations.append(found)
                else:
                    about, has_pace = found["about"], found.get("pace", True)
            except (json.JSONDecodeError, ListError, KeyError, TypeError) as error:
                raise ListError(f"{path}:{number}: {error}") from None
    if not operations:
        raise ListError(f"{path}: no operation in it")
    return OperationList(os.path.basename(path).removesuffix(".jsonl"), operations, about, has_pace)
