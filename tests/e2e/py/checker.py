"""Reads what clients logged and what the store holds, and names every broken promise.

A log is a list of records:
  ("ack", channel, key, offset, data, is_duplicate)   a send was answered
  ("conflict", channel, key)                          a key with other data was refused
  ("seen", reader, channel, offset, key, data)        a reader was given a publication
  ("reset", reader, channel)                          a reader was told recovered:false
The store is {channel: {offset: (key, data)}} and {channel: top}.
"""
from collections import defaultdict


def check(log, store, tops):
    problems = []
    by_key = defaultdict(dict)

    for channel, publications in store.items():
        top = tops[channel]
        if sorted(publications) != list(range(1, top + 1)):
            missing = sorted(set(range(1, top + 1)) - set(publications))
            problems.append(f"hole: {channel} has top {top} but lacks offsets {missing[:5]}")
        for offset, (key, _) in sorted(publications.items()):
            if key in by_key[channel]:
                problems.append(f"double: {channel} key {key} is stored at {by_key[channel][key]} and {offset}")
            else:
                by_key[channel][key] = offset

    last = {}
    for record in log:
        kind = record[0]
        if kind == "ack":
            _, channel, key, offset, data, _ = record
            stored = store.get(channel, {}).get(offset)
            if stored is None:
                problems.append(f"lost: {channel} key {key} was acknowledged at {offset}, which is not stored")
            elif stored != (key, data):
                problems.append(f"reused: {channel} offset {offset} was acknowledged for {key} but holds {stored[0]}")
        elif kind == "seen":
            _, reader, channel, offset, key, data = record
            stored = store.get(channel, {}).get(offset)
            if stored is None:
                problems.append(f"lost: {reader} saw {channel} offset {offset}, which is not stored")
            elif stored != (key, data):
                problems.append(f"reused: {reader} saw {key} at {channel} offset {offset}, the store holds {stored[0]}")
            before = last.get((reader, channel))
            if before is not None and offset <= before:
                problems.append(f"double or disorder: {reader} saw {channel} offset {offset} after {before}")
            if before is not None and offset > before + 1:
                problems.append(f"gap: {reader} saw {channel} offset {offset} after {before}")
            last[(reader, channel)] = offset
        elif kind == "reset":
            last.pop((record[1], record[2]), None)
    for (reader, channel), offset in last.items():
        if offset != tops.get(channel):
            problems.append(f"behind: {reader} ended at {channel} offset {offset} of {tops.get(channel)}")
    return problems


def acknowledged_twice(log):
    """A key that was answered with two offsets."""
    first = {}
    problems = []
    for record in log:
        if record[0] != "ack":
            continue
        _, channel, key, offset, _, _ = record
        if first.setdefault((channel, key), offset) != offset:
            problems.append(f"two offsets: {channel} key {key} was answered {first[(channel, key)]} and {offset}")
    return problems
