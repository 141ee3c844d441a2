"""The fewest operations that still differ."""


def shortened(operations, difference):
    """Without what comes after the first difference."""
    return operations if difference.step is None else operations[: difference.step + 1]


def shrink(operations, differs, say=lambda text: None):
    """Takes parts out as long as `differs` (of several lists at once, whether each does) says that it stays."""
    parts = 2
    while len(operations) > 1:
        size = -(-len(operations) // parts)
        cuts = [(at, min(at + size, len(operations))) for at in range(0, len(operations), size)]
        without = [operations[:begin] + operations[end:] for begin, end in cuts]
        answers = differs(without)
        if any(answers):
            # All that can go one by one, taken together, may be too much; then the first.
            gone = [cut for cut, answer in zip(cuts, answers) if answer]
            rest = [
                operation
                for at, operation in enumerate(operations)
                if not any(begin <= at < end for begin, end in gone)
            ]
            if len(gone) > 1 and rest and differs([rest])[0]:
                operations = rest
            else:
                operations = without[answers.index(True)]
            parts = max(2, min(parts - 1, len(operations)))
            say(f"{len(operations)} operations")
        elif size == 1:
            break
        else:
            parts = min(len(operations), parts * 2)
    return operations
