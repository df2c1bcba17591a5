#!/usr/bin/env python3
"""Makes tree.json: expected roots and proofs of state trees, from an implementation that shares no code with Cairn.

It needs Python 3.9 or later and nothing besides its standard library. It is written from these specifications:

  BLAKE3   the paper "BLAKE3: one function, fast everywhere", for inputs of one chunk (at most 1024 bytes)
  ICS-23   the messages and verification rules of proofs.proto (cosmos.ics23.v1)
  tree     the rules in docs/proofs.md

Before it writes anything, it checks itself against published values of BLAKE3, and it verifies each of its proofs by
the rules of ICS-23, which know nothing of trees.

  python3 generate.py            writes tree.json beside this file
  python3 generate.py --check    fails if tree.json differs from what this program makes
"""

import json
import pathlib
import sys

VECTORS = pathlib.Path(__file__).with_name("tree.json")
LEAF = b"cairn state tree v2: a leaf hash"
EMPTY = bytes(32)


# ---- BLAKE3 of one chunk --------------------------------------------------------------------------------------------

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, ROOT = 1, 2, 8
MASK = 0xFFFFFFFF


def rotate(word, by):
    return (word >> by | word << (32 - by)) & MASK


def mix(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & MASK
    v[d] = rotate(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = rotate(v[b] ^ v[c], 12)
    v[a] = (v[a] + v[b] + y) & MASK
    v[d] = rotate(v[d] ^ v[a], 8)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = rotate(v[b] ^ v[c], 7)


def compress(chaining, block, length, flags):
    m = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]
    v = chaining + IV[:4] + [0, 0, length, flags]
    for _ in range(7):
        for i in range(4):
            mix(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3(data):
    assert len(data) <= 1024
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    chaining = IV
    for i, block in enumerate(blocks):
        flags = (CHUNK_START if i == 0 else 0) | (CHUNK_END | ROOT if i == len(blocks) - 1 else 0)
        chaining = compress(chaining, block.ljust(64, b"\0"), len(block), flags)
    return b"".join(word.to_bytes(4, "little") for word in chaining)


# ---- The tree -------------------------------------------------------------------------------------------------------


def bit(path, depth):
    return path[depth // 8] >> (7 - depth % 8) & 1


def leaf_hash(key, value):
    return blake3(LEAF + blake3(key) + blake3(value))


def subtree(content, depth=0):
    """The hash over a list of keys and values."""
    if not content:
        return EMPTY
    if len(content) == 1:
        return leaf_hash(*content[0])
    sides = [[one for one in content if bit(blake3(one[0]), depth) == side] for side in (0, 1)]
    return blake3(subtree(sides[0], depth + 1) + subtree(sides[1], depth + 1))


def existence(content, key):
    """An ExistenceProof: key, value, and the operations from the leaf up as pairs of prefix and suffix."""
    path, depth, steps = blake3(key), 0, []
    value = dict(content)[key]
    while len(content) > 1:
        side = bit(path, depth)
        other = subtree([one for one in content if bit(blake3(one[0]), depth) != side], depth + 1)
        steps.insert(0, (other, b"") if side else (b"", other))
        content = [one for one in content if bit(blake3(one[0]), depth) == side]
        depth += 1
    return key, value, steps


def prove(content, key):
    """The existence proofs that prove a key: its own, or those of its neighbours."""
    if key in dict(content):
        return [existence(content, key)]
    order = sorted((blake3(other), other) for other, _ in content)
    left = [other for path, other in order if path < blake3(key)][-1:]
    right = [other for path, other in order if path > blake3(key)][:1]
    return [existence(content, one[0]) if one else None for one in (left, right)]


# ---- ICS-23 ---------------------------------------------------------------------------------------------------------


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field_int(tag, number):
    return varint(tag << 3) + varint(number) if number else b""


def field_bytes(tag, data):
    return varint(tag << 3 | 2) + varint(len(data)) + data if data else b""


def encode_leaf(proof):
    key, value, _ = proof
    leaf = field_int(1, 9) + field_int(2, 9) + field_int(3, 9) + field_bytes(5, LEAF)
    return field_bytes(1, key) + field_bytes(2, value) + field_bytes(3, leaf)


def encode_op(tag, step):
    return field_bytes(tag, field_int(1, 9) + field_bytes(2, step[0]) + field_bytes(3, step[1]))


def encode(key, proofs):
    """A CommitmentProof: an ExistenceProof, or a CompressedBatchProof with a CompressedNonExistenceProof."""
    if len(proofs) == 1:
        return field_bytes(1, encode_leaf(proofs[0]) + b"".join(encode_op(4, step) for step in proofs[0][2]))
    lookup = list(dict.fromkeys(step for proof in proofs if proof for step in proof[2]))
    absence = field_bytes(1, key)
    for tag, proof in zip((2, 3), proofs):
        if proof:
            path = b"".join(varint(lookup.index(step)) for step in proof[2])
            absence += field_bytes(tag, encode_leaf(proof) + field_bytes(4, path))
    return field_bytes(4, field_bytes(1, field_bytes(2, absence)) + b"".join(encode_op(2, step) for step in lookup))


def calculate(proof):
    key, value, steps = proof
    hash = blake3(LEAF + blake3(key) + blake3(value))
    for prefix, suffix in steps:
        assert not prefix.startswith(LEAF) and len(prefix) <= 32 and len(suffix) % 32 == 0
        hash = blake3(prefix + hash + suffix)
    return hash


def is_right_most(steps):
    return all(len(prefix) == 32 or suffix == EMPTY for prefix, suffix in steps)


def is_left_most(steps):
    return all(len(suffix) == 0 and prefix == EMPTY or len(prefix) == 0 for prefix, suffix in steps)


def verify(root, key, proofs):
    assert all(calculate(proof) == root for proof in proofs if proof)
    if len(proofs) == 1:
        assert proofs[0][0] == key
        return
    left, right = proofs
    assert left or right
    assert not left or blake3(left[0]) < blake3(key)
    assert not right or blake3(right[0]) > blake3(key)
    if not right:
        assert is_right_most(left[2])
    elif not left:
        assert is_left_most(right[2])
    else:
        a, b = list(left[2]), list(right[2])
        while a[-1] == b[-1]:
            a.pop(), b.pop()
        top_a, top_b = a.pop(), b.pop()
        assert len(top_a[0]) == 0 and len(top_b[0]) == 32
        assert is_right_most(a) and is_left_most(b)


# ---- The vectors ----------------------------------------------------------------------------------------------------


def trees():
    cases = []
    for count in (0, 1, 2, 3, 7, 20):
        content = [(f"key {i}".encode(), bytes([i]) * (1 + 37 * i % 200)) for i in range(count)]
        root = subtree(content)
        proofs = []
        for key in [key for key, _ in content[:5]] + [f"other {i}".encode() for i in range(8)]:
            proven = prove(content, key)
            if content:
                verify(root, key, proven)
            proofs.append({"key": key.hex(), "bytes": encode(key, proven).hex()})
        cases.append(
            {
                "content": [[key.hex(), value.hex()] for key, value in content],
                "root": root.hex(),
                "app_hash": subtree([(b"n", root), (b"r", EMPTY)]).hex(),
                "proofs": proofs,
            }
        )
    return cases


def check_known_answers():
    pattern = bytes(i % 251 for i in range(1024))
    known = {
        0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
        1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    }
    for length, hash in known.items():
        assert blake3(pattern[:length]).hex() == hash, length


def main():
    check_known_answers()
    text = json.dumps(trees(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if VECTORS.read_text() == text else f"{VECTORS} differs from what this program makes")
    VECTORS.write_text(text)


if __name__ == "__main__":
    main()
