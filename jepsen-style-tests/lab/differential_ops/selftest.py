"""Spoils what is seen at our side, each time in another way: the comparison has to notice each."""

from .lists import OperationList

OPERATIONS = [
    {"op": "mkdir", "path": "a", "mode": "0750"},
    {"op": "create", "path": "a/f", "mode": "0640", "flags": ""},
    {"op": "mkdir", "path": "a", "mode": "0700"},
    {"op": "readdir", "path": "a"},
    {"op": "stat", "path": "a/f"},
    {"op": "tool", "tool": "mfsgetgoal", "paths": ["a/f"]},
    {"op": "setxattr", "path": "a/f", "name": "user.a", "value": "one"},
    {"op": "getxattr", "path": "a/f", "name": "user.a"},
]


def _attribute(key, value):
    def change(result):
        return {"ok": result["ok"] | {key: value}}

    return change


def _at_step(at, change):
    return lambda step, result: change(result) if step == at else result


# What is spoiled, at which step.
RESULTS = {
    "an errno": (2, lambda result: {"error": "ENOTEMPTY"}),
    "a success for an error": (2, lambda result: {"ok": None}),
    "a name of a directory": (3, lambda result: {"ok": ["g"]}),
    "a name that is missing": (3, lambda result: {"ok": []}),
    "a mode": (4, _attribute("mode", "0644")),
    "an owner": (4, _attribute("uid", 7)),
    "a number of links": (4, _attribute("nlink", 2)),
    "a length": (4, _attribute("size", 1)),
    "a chosen time": (4, _attribute("mtime", 1)),
    "what a tool says": (5, lambda result: {"ok": [*result["ok"], "and more"]}),
    "an extended attribute": (7, lambda result: {"ok": "two"}),
}
# Done at our side alone, and nothing of it is in the result: the look at the tree has to see it.
CHANGES = {
    "an attribute that is changed behind its back": {"op": "chmod", "path": "a/f", "mode": "0600"},
    "a name that is there too much": {"op": "create", "path": "a/g", "mode": "0600", "flags": ""},
    "an extended attribute too much": {"op": "setxattr", "path": "a/f", "name": "user.b", "value": "x"},
    "another trash time": {"op": "tool", "tool": "mfssettrashtime 7200", "paths": ["a/f"]},
    "something in the trash": {"op": "unlink", "path": "a/f"},
}


def run(bench, _):
    """Each has to be noticed where it was done; the exit code."""
    one = OperationList("self-test", OPERATIONS)
    print("  nothing spoiled", flush=True)
    if found := bench.differences([one])[0]:
        print(f"  FAILED: differs: {found}")
        return 1
    missed = 0
    for what, (at, change) in RESULTS.items():
        found = bench.differences([one], False, spoil=_at_step(at, change))[0]
        is_noticed = found is not None and found.step == at
        missed += not is_noticed
        print(f"  {'noticed' if is_noticed else 'MISSED'}: {what}{': ' + found.lines[0] if found else ''}", flush=True)
    for what, operation in CHANGES.items():
        # Both lists are equally long, and the step itself looks the same.
        more = one.with_operations([*OPERATIONS, {"op": "behind", "then": operation}])
        same = one.with_operations([*OPERATIONS, {"op": "wait"}])
        found = bench.differences([same], False, ours=[more])[0]
        is_noticed = found is not None and found.step is None
        missed += not is_noticed
        print(f"  {'noticed' if is_noticed else 'MISSED'}: {what}{': ' + found.lines[0] if found else ''}", flush=True)
    print(f"differential: {missed} missed" if missed else "differential: all noticed", flush=True)
    return 1 if missed else 0
