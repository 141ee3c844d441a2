"""What differs between the same list at two file systems."""

import dataclasses


@dataclasses.dataclass
class Difference:
    """The first step at which something differs, and what: `where: real / ours`."""

    # None: at the end, after the last step.
    step: int | None
    lines: list


def differing(real, ours, where=""):
    """Where two values differ, for people."""
    if real == ours:
        return []
    if isinstance(real, dict) and isinstance(ours, dict):
        found = []
        for key in sorted(real.keys() | ours.keys(), key=str):
            at = f"{where} {key or '.'}".strip()
            if key not in real or key not in ours:
                found.append(f"{at}: {brief(real.get(key, 'is not there'))} / {brief(ours.get(key, 'is not there'))}")
            else:
                found += differing(real[key], ours[key], at)
        return found
    if isinstance(real, list) and isinstance(ours, list) and len(real) == len(ours):
        return [line for one, other in zip(real, ours) for line in differing(one, other, where)]
    return [f"{where}: {brief(real)} / {brief(ours)}"]


def brief(value):
    """A value as it fits a line."""
    if isinstance(value, dict) and "type" in value:
        value = " ".join(f"{key}={value[key]}" for key in ("type", "mode", "uid", "gid", "nlink", "size"))
    text = str(value)
    return text if len(text) <= 300 else text[:200] + " .. " + text[-80:]


def compare(real, ours):
    """The first difference of a list's results, or None."""
    for step, (one, other) in enumerate(zip(real["steps"], ours["steps"])):
        if lines := differing(one, other):
            return Difference(step, lines)
    if lines := differing(real["end"], ours["end"]):
        return Difference(None, lines)
    return None


def kind(difference, operations):
    """A short name for differences that may have one cause."""
    if difference.step is None:
        return "at the end, " + " ".join(difference.lines[0].split(":")[0].split()[:1])
    operation = operations[difference.step]
    words = difference.lines[0]
    if words.startswith("result"):
        return f"{operation['op']}, {words}"[:120]
    field = words.split(":")[0].split()[-1]
    return f"{operation['op']}, {field}"
