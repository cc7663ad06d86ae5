"""Mutations of valid files that keep them nearly valid."""

import copy
import json
import struct

# Sizes at which parsers trip, as they stand in headers.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_VALUES = (
    *(None, True, -1, 0, 1e308, float("nan"), 2**31, 2**63, 10**30, "", "\x00"),
    *("../../etc/passwd", "a" * 300, [], {}, [[]], {"class_name": "Lambda"}),
)


def mutate(seeds, rng):
    """Draws an input.

    Args:
        seeds: List of valid inputs, bytes each.
        rng: `random.Random`.

    Returns:
        Bytes.
    """
    content = rng.choice(seeds)
    if content[:1] in (b"{", b"[") and rng.random() < 0.5:
        return _mutate_json(content, rng)
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_MUTATIONS)(content, seeds, rng)
    return bytes(content)


def _position(content, rng):
    """Anywhere, or among the first bytes: there is the header."""
    end = len(content) if rng.random() < 0.5 else min(64, len(content))
    return rng.randrange(end) if end else 0


def _flip_bit(content, seeds, rng):
    if content:
        content[_position(content, rng)] ^= 1 << rng.randrange(8)


def _set_byte(content, seeds, rng):
    if content:
        content[_position(content, rng)] = rng.randrange(256)


def _set_number(content, seeds, rng):
    """A field of the header, of either order of bytes."""
    width, code = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    order = rng.choice("<>")
    number = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
    at = _position(content, rng)
    content[at : at + width] = struct.pack(order + code, number)


def _truncate(content, seeds, rng):
    del content[_position(content, rng) :]


def _delete(content, seeds, rng):
    at = _position(content, rng)
    del content[at : at + rng.randint(1, 16)]


def _repeat(content, seeds, rng):
    at = _position(content, rng)
    chunk = content[at : at + rng.randint(1, 64)]
    content[at:at] = chunk * rng.choice((1, 2, 100))


def _splice(content, seeds, rng):
    other = rng.choice(seeds)
    at = _position(content, rng)
    content[at:] = other[_position(other, rng) :]


def _append(content, seeds, rng):
    content += rng.randbytes(rng.choice((1, 16, 1000)))


_MUTATIONS = (
    *(_flip_bit, _set_byte, _set_number, _set_number),
    *(_truncate, _delete, _repeat, _splice, _append),
)


def _mutate_json(content, rng):
    """Other values in places of the tree, which stays JSON."""
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = list(_places(tree))
        if not places:
            break
        parent, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.5:
            parent[key] = copy.deepcopy(rng.choice(_VALUES))
        elif kind < 0.8:
            other, name = rng.choice(places)
            parent[key] = json.loads(json.dumps(other[name]))
        else:
            del parent[key]
    return json.dumps(tree).encode()


def _places(tree):
    keys = tree if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])
