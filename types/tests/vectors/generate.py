#!/usr/bin/env python3
"""Makes vectors.json: expected values for tests/vectors.rs, from an implementation that shares no code with Cairn.

It needs Python 3.9 or later and nothing besides its standard library. It is written from these specifications:

  proposer rotation   CometBFT, "Proposer Selection Procedure": priorities are scaled to a window of twice the total
                      power, centred on the floor of their average, then advanced; a new validator starts at
                      -(T + T/8); int64, ties to the lower address
  canonical bytes     CometBFT, "Data Structures", CanonicalVote and CanonicalProposal, in protobuf, length-delimited
  hashes              RFC 6962 Merkle trees over SHA-256; header fields and SimpleValidator in protobuf
  transactions        Cairn, docs/transactions.md and docs/namespaces.md, in protobuf
  keys, signatures    RFC 8032, Ed25519; an address is the first 20 bytes of the SHA-256 of the public key

Before it writes anything, it checks itself against values that others published (`check_known_answers`), and it proves
that each of the usual mistakes in the rotation would change a vector (`check_that_mistakes_show`).

  python3 generate.py            writes vectors.json beside this file
  python3 generate.py --check    fails if vectors.json differs from what this program makes
"""

import hashlib
import json
import pathlib
import struct
import sys

POWER_TOTAL_MAX = (2**63 - 1) // 8
VECTORS = pathlib.Path(__file__).with_name("vectors.json")


# ---- Ed25519, RFC 8032, section 5.1 --------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def point_add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    e, f = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    u, v, w, s = f - e, h - g, h + g, f + e
    return (u * v % P, w * s % P, v * w % P, u * s % P)


def point_mul(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = point_add(total, point)
        point, scalar = point_add(point, point), scalar >> 1
    return total


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = x if x % 2 == 0 else P - x
    return (x, y, 1, x * y % P)


BASE = base_point()


def compress(point):
    x, y, z, _ = point
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def expand(secret):
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return (scalar & ~7 & (1 << 254) - 1) | 1 << 254, digest[32:]


def public_key(secret):
    return compress(point_mul(expand(secret)[0], BASE))


def sign(secret, message):
    scalar, prefix = expand(secret)
    public = compress(point_mul(scalar, BASE))
    hashed = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER
    r = hashed(prefix, message)
    nonce = compress(point_mul(r, BASE))
    s = (r + hashed(nonce, public, message) * scalar) % ORDER
    return nonce + s.to_bytes(32, "little")


def secret_of(seed):
    return bytes([seed]) * 32


_keys = {}


def key_of(seed):
    """Returns public key and address of the secret key whose 32 bytes are all `seed`."""
    if seed not in _keys:
        public = public_key(secret_of(seed))
        _keys[seed] = (public, hashlib.sha256(public).digest()[:20])
    return _keys[seed]


# ---- protobuf, proto3: a field with its default value is left out ---------------------------------------------------

def varint(number):
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field_int(tag, number):
    return varint(tag << 3) + varint(number) if number else b""


def field_sfixed64(tag, number):
    return varint(tag << 3 | 1) + struct.pack("<q", number) if number else b""


def field_bytes(tag, data):
    return field_message(tag, data) if data else b""


def field_message(tag, data):
    """A message that is present is written even if it is empty."""
    return varint(tag << 3 | 2) + varint(len(data)) + data


def timestamp(nanos):
    seconds, rest = divmod(nanos, 10**9)
    return field_int(1, seconds) + field_int(2, rest)


def block_id(id):
    """`id` is (hash, total, parts hash), or None for nil."""
    hash, total, parts = id or (b"", 0, b"")
    return field_bytes(1, hash) + field_message(2, field_int(1, total) + field_bytes(2, parts))


# ---- canonical bytes ------------------------------------------------------------------------------------------------

def vote_sign_bytes(kind, height, round, id, time, chain):
    body = field_int(1, kind) + field_sfixed64(2, height) + field_sfixed64(3, round)
    if id is not None:
        body += field_message(4, block_id(id))
    body += field_message(5, time) + field_bytes(6, chain.encode())
    return varint(len(body)) + body


def proposal_sign_bytes(height, round, pol_round, id, time, chain):
    body = field_int(1, 32) + field_sfixed64(2, height) + field_sfixed64(3, round) + field_int(4, pol_round)
    body += field_message(5, block_id(id)) + field_message(6, time) + field_bytes(7, chain.encode())
    return varint(len(body)) + body


# ---- RFC 6962 -------------------------------------------------------------------------------------------------------

def sha256(data):
    return hashlib.sha256(data).digest()


def tree_head(leaves):
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0])
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return sha256(b"\1" + tree_head(leaves[:left]) + tree_head(leaves[left:]))


HASHES = ["last_commit_hash", "data_hash", "validators_hash", "next_validators_hash", "consensus_hash", "app_hash",
          "last_results_hash", "evidence_hash"]


def header_hash(header):
    wrapped = lambda name: field_bytes(1, header[name])
    return tree_head([
        field_int(1, 11) + field_int(2, header["version_app"]),
        field_bytes(1, header["chain_id"].encode()),
        field_int(1, header["height"]),
        timestamp(header["time"]),
        block_id(header["last_block_id"]),
        *[wrapped(name) for name in HASHES],
        wrapped("proposer"),
    ])


def validators_hash(members):
    return tree_head([field_message(1, field_bytes(1, key_of(v.seed)[0])) + field_int(2, v.power) for v in members])


# ---- proposer rotation ----------------------------------------------------------------------------------------------

class Validator:
    def __init__(self, seed, power, priority):
        self.seed, self.power, self.priority = seed, power, priority
        self.address = key_of(seed)[1] if seed else b""


def clip(number):
    return max(-2**63, min(2**63 - 1, number))


def quotient(a, b):
    """Division of int64: toward zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


class Set:
    """A validator set. `mistake` names a deviation from the specification, which the vectors must make visible."""

    def __init__(self, members, mistake=None):
        self.members, self.mistake, self.proposer = members, mistake, None
        self.sort()

    @staticmethod
    def first(powers, mistake=None):
        made = Set([], mistake)
        made.update(powers)
        made.advance(1)
        return made

    def sort(self):
        self.members.sort(key=lambda v: (-v.power, v.address))

    def total(self):
        return sum(v.power for v in self.members)

    def scale(self):
        window = 2 * self.total()
        spread = max(v.priority for v in self.members) - min(v.priority for v in self.members)
        if spread > window and self.mistake != "no window":
            ratio = spread // window if self.mistake == "ratio rounded down" else (spread + window - 1) // window
            for v in self.members:
                v.priority = v.priority // ratio if self.mistake == "scaling by floor" else quotient(v.priority, ratio)

    def centre(self):
        total, count = sum(v.priority for v in self.members), len(self.members)
        average = quotient(total, count) if self.mistake == "average toward zero" else total // count
        for v in self.members:
            v.priority = clip(v.priority - (0 if self.mistake == "no average" else average))

    def turn(self):
        for v in self.members:
            v.priority = clip(v.priority + v.power)
        upwards = self.mistake == "ties to the higher address"
        best = max(v.priority for v in self.members)
        tied = sorted((v for v in self.members if v.priority == best), key=lambda v: v.address, reverse=upwards)
        self.proposer = tied[0]
        self.proposer.priority = clip(self.proposer.priority - self.total())

    def advance(self, times):
        self.scale()
        self.centre()
        for _ in range(times):
            self.turn()

    def update(self, changes):
        by_seed = {v.seed: v for v in self.members}
        removed = {seed for seed, power in changes if power == 0}
        joined = []
        for seed, power in changes:
            if power and seed in by_seed:
                by_seed[seed].power = power
            elif power:
                joined.append(Validator(seed, power, 0))
        before_removals = self.total() + sum(v.power for v in joined)
        left = [v for v in self.members if v.seed not in removed]
        if self.mistake == "removals count first":
            before_removals = sum(v.power for v in left + joined)
        eighth = 0 if self.mistake == "no eighth" else before_removals >> 3
        for v in joined:
            v.priority = -(before_removals + eighth)
        self.members = left + joined
        self.sort()
        self.scale()
        self.centre()

    def priorities(self):
        return [v.priority for v in self.members]

    def encode(self):
        """The set in protobuf, as CometBFT's ValidatorSet."""
        def member(v):
            key, address = key_of(v.seed)
            return (field_bytes(1, address) + field_message(2, field_bytes(1, key)) + field_int(3, v.power)
                    + field_int(4, v.priority))
        members = b"".join(field_message(1, member(v)) for v in self.members)
        return members + field_message(2, member(self.members[0])) + field_int(3, self.total())


MISTAKES = ["no window", "ratio rounded down", "scaling by floor", "average toward zero", "no average",
            "ties to the higher address", "no eighth", "removals count first"]


# ---- the vectors ----------------------------------------------------------------------------------------------------

class Numbers:
    """A sequence of numbers that is the same in each run: SHA-256 of a counter."""

    def __init__(self, name):
        self.name, self.count = name, 0

    def bytes(self, length):
        self.count += 1
        return hashlib.sha256(f"{self.name} {self.count}".encode()).digest()[:length]

    def below(self, bound):
        return int.from_bytes(self.bytes(16), "big") % bound


def rotations(mistake=None):
    third, numbers = POWER_TOTAL_MAX // 3, Numbers("rotation")
    starts = [[1], [1, 1, 1], [1, 2, 1], [2, 3, 2], [1, 1, 1, 1], [10, 1, 1], [1000, 1, 10], [1, 2, 3, 4, 5, 6, 7],
              [third, third, third], [third + 1, third, third - 1], [POWER_TOTAL_MAX - 2, 1, 1], [9] * 20]
    starts += [[1 + numbers.below(100) for _ in range(3 + numbers.below(6))] for _ in range(6)]
    out = []
    for powers in starts:
        members = [(seed + 1, power) for seed, power in enumerate(powers)]
        made = Set.first(members, mistake)
        case = {"validators": members, "rounds": [], "steps": []}
        for round in range(2 * len(powers) + 3):
            copy = Set([Validator(v.seed, v.power, v.priority) for v in made.members], mistake)
            copy.proposer = made.proposer
            if round:
                copy.advance(round)
            case["rounds"].append(copy.proposer.seed)
        # Heights: the set is advanced by one turn at each height, and by changes at some of them. CometBFT changes
        # first and advances then.
        used = len(powers)
        # The last change replaces a key: a validator leaves, and another one enters with its power.
        for step in range(15):
            changes = []
            if step % 4 == 1 and made.total() < POWER_TOTAL_MAX // 2:
                used += 1
                changes.append((used, 1 + numbers.below(made.total() + 3)))
            if step % 4 == 2:
                changed = made.members[numbers.below(len(made.members))]
                changes.append((changed.seed, 1 + numbers.below(changed.power)))
            if step % 4 == 3 and len(made.members) > 1:
                changes.append((made.members[numbers.below(len(made.members))].seed, 0))
                if made.total() < POWER_TOTAL_MAX // 8:
                    used += 1
                    changes.append((used, 1 + numbers.below(9)))
            if step == 14:
                used += 1
                changes = [(made.members[0].seed, 0), (used, made.members[0].power)]
            turns = 1 if step % 3 else 1 + numbers.below(5)
            if changes:
                made.update(changes)
            updated = made.priorities()
            made.advance(turns)
            case["steps"].append({
                "changes": changes,
                "updated": updated if changes else [],
                "turns": turns,
                "members": [[v.seed, v.power] for v in made.members],
                "priorities": made.priorities(),
                "proposer": made.proposer.seed,
            })
        out.append(case)
    return out


def averages(mistake=None):
    """Sets with any priorities, in bytes, and their priorities after one and after three turns."""
    numbers = Numbers("averages")
    cases = [
        ([1, 1, 1], [1, 2, 3]), ([1, 1, 1], [10, -10, 1]), ([1, 1, 1], [100, -10, 1]), ([5, 4, 3], [-1, 0, 0]),
        ([5, 4, 3], [0, 0, 1]), ([1, 1], [-3, 0]), ([1, 1], [0, -5]), ([7, 7, 7], [-40, 3, 41]),
        ([1, 1, 1], [-7, 0, 0]), ([1, 1, 1], [2**60, -2**60, 5]), ([1], [-9]), ([1], [9]),
        ([POWER_TOTAL_MAX - 1, 1], [2**61, -2**61]), ([3, 2, 1, 1], [13, -1, -1, -14]),
    ]
    for _ in range(30):
        count = 1 + numbers.below(7)
        powers = [1 + numbers.below(20) for _ in range(count)]
        spread = 1 + numbers.below(8 * sum(powers))
        cases.append((powers, [numbers.below(2 * spread) - spread for _ in range(count)]))
    out = []
    for powers, priorities in cases:
        case = {}
        for turns in (1, 3):
            members = [Validator(seed + 1, *both) for seed, both in enumerate(zip(powers, priorities))]
            made = Set(members, mistake)
            case["bytes"] = made.encode().hex()
            made.advance(turns)
            case[f"after_{turns}"] = {"priorities": made.priorities(), "proposer": made.proposer.seed}
        out.append(case)
    return out


def json_id(id):
    return id and {"hash": id[0].hex(), "total": id[1], "parts": id[2].hex()}


def sign_bytes():
    numbers, out = Numbers("sign bytes"), []
    heights = [1, 127, 128, 2**31, 2**62]
    rounds = [0, 1, 127, 128, 2**31 - 1]
    times = [0, 1, 10**9, 1_796_000_000_123_456_789, 2**63 - 1]
    chains = ["c", "cairn-golden", "x" * 50]
    for n in range(30):
        height, round = heights[n % 5], rounds[(n + n // 5) % 5]
        time, chain = times[(2 * n + n // 5) % 5], chains[n % 3]
        id = (numbers.bytes(32), [1, 2, 127, 128, 256][n % 5], numbers.bytes(32))
        common = {"height": height, "round": round, "time": time, "chain_id": chain, "seed": 1 + n}
        made = []
        for name, kind in [("prevote", 1), ("precommit", 2)]:
            for value in (id, None):
                data = vote_sign_bytes(kind, height, round, value, timestamp(time), chain)
                made.append(({"kind": name, "block_id": json_id(value)}, data))
        for pol_round in sorted({-1, 0, round - 1}) if round else [-1]:
            data = proposal_sign_bytes(height, round, pol_round, id, timestamp(time), chain)
            made.append(({"kind": "proposal", "pol_round": pol_round, "block_id": json_id(id)}, data))
        # All kinds at each second place, one kind at the others.
        for which, data in made if n % 2 == 0 else made[n % len(made):][:1]:
            signature = sign(secret_of(1 + n), data)
            out.append({**common, **which, "bytes": data.hex(), "signature": signature.hex()})
    return out


def headers():
    numbers, out = Numbers("headers"), []
    for n in range(24):
        id = (numbers.bytes(32), [1, 127, 128, 256][n % 4], numbers.bytes(32)) if n % 6 else None
        header = {
            "version_app": [0, 1, 2**63][n % 3],
            "chain_id": ["c", "cairn-golden", "x" * 50][n // 3 % 3],
            "height": [1, 2, 2**32, 2**62][n // 2 % 4],
            "time": [0, 999_999_999, 10**9, 1_796_000_000_123_456_789, 2**63 - 1][n % 5],
            "last_block_id": id,
            **{name: numbers.bytes(32) for name in HASHES},
            "proposer": numbers.bytes(20),
        }
        hash = header_hash(header)
        text = {name: value.hex() if isinstance(value, bytes) else value for name, value in header.items()}
        out.append({**text, "last_block_id": json_id(id), "hash": hash.hex()})
    return out


def validator_sets():
    numbers, out = Numbers("sets"), []
    for count in [1, 2, 3, 4, 5, 7, 8, 9, 16, 17]:
        powers = [(seed + 1, 1 + numbers.below([3, 200, 2**40][count % 3])) for seed in range(count)]
        made = Set.first(powers)
        order = [[v.seed, v.address.hex()] for v in made.members]
        out.append({"validators": powers, "order": order, "hash": validators_hash(made.members).hex()})
    return out


# ---- checks of this program itself ----------------------------------------------------------------------------------

# ---- bodies of transactions -----------------------------------------------------------------------------------------

# The public key of the secret key of 32 bytes 03 on secp256k1, as docs/transactions.md has it.
SIGNER = bytes.fromhex("02531fe6068134503d2723133227c867ac8fa6c83c537e9a44c3c5bdbdcb1fe337")


def field_present(tag, number):
    """A member of a oneof, or an optional field: it is written even if it is 0."""
    return varint(tag << 3) + varint(number)


def encode_op(op):
    condition = lambda tag: b"" if op["if_height"] is None else field_present(tag, op["if_height"])
    key = field_bytes(1, bytes.fromhex(op["key"]))
    if op["value"] is None:
        return field_message(2, key + condition(2))
    return field_message(1, key + field_bytes(2, bytes.fromhex(op["value"])) + condition(3))


def encode_message(message):
    kind = message["kind"]
    if kind == "transfer":
        return field_message(1, field_bytes(1, bytes.fromhex(message["to"])) + field_int(2, message["amount"]))
    name = field_bytes(1, message["ns"].encode())
    if kind == "ns_create":
        owner = field_message({"signer": 2, "shared": 3}[message["owner"]], b"")
        return field_message(2, name + owner + field_int(4, message["quota_keys"]) + field_int(5, message["quota_bytes"]))
    ops = b"".join(field_message(3, encode_op(op)) for op in message["ops"])
    return field_message(3, name + field_int(2, message["data_epoch"]) + ops)


def transactions():
    numbers = Numbers("transactions")
    choice = lambda *options: options[numbers.below(len(options))]
    hexed = lambda bound: (numbers.bytes(32) * 8)[:numbers.below(bound)].hex()

    def op():
        return {"key": hexed(5), "if_height": choice(None, 0, 7, 2**40), "value": choice(None, "", hexed(200))}

    def message():
        ns = choice("a", "shared/policy", "g/fleet-7/board", "not a name")
        return choice(
            {"kind": "transfer", "to": numbers.bytes(20).hex(), "amount": numbers.below(2**40)},
            {"kind": "ns_create", "ns": ns, "owner": choice("signer", "shared"),
             "quota_keys": numbers.below(2**20), "quota_bytes": choice(0, numbers.below(2**40))},
            {"kind": "kv_write", "ns": ns, "data_epoch": choice(0, 1, 300),
             "ops": [op() for _ in range(1 + numbers.below(4))]})

    made = []
    for nonce in range(24):
        messages = [message() for _ in range(1 + numbers.below(3))]
        body = field_bytes(1, b"cairn-test") + field_bytes(2, SIGNER) + field_present(3, nonce)
        body += field_int(5, 2) + b"".join(field_message(6, encode_message(each)) for each in messages)
        made.append({"nonce": nonce, "messages": messages, "body": body.hex()})
    return made


def check_known_answers():
    # RFC 8032, section 7.1, tests 1 and 2.
    for secret, public, message, signature in [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
         "d25bf5f0595bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
         "387b2eaeb4302aeeb00d291612bb0c00"),
    ]:
        assert public_key(bytes.fromhex(secret)).hex() == public
        assert sign(bytes.fromhex(secret), bytes.fromhex(message)).hex() == signature
    # CometBFT, types/vote_test.go, TestVoteSignBytesTestVectors: its zero time is the first of January of year 1.
    zero = timestamp(-62_135_596_800 * 10**9)
    assert vote_sign_bytes(0, 0, 0, None, zero, "").hex() == "0d2a0b088092b8c398feffffff01"
    assert vote_sign_bytes(2, 1, 1, None, zero, "").hex() == (
        "210802110100000000000000190100000000000000" "2a0b088092b8c398feffffff01")
    assert vote_sign_bytes(1, 1, 1, None, zero, "test_chain_id").hex() == (
        "300801110100000000000000190100000000000000" "2a0b088092b8c398feffffff01" "320d746573745f636861696e5f6964")
    # The header of height 549 of the chain `provi`, which CometBFT v0.38 made (tests/cometbft.rs has its source).
    unhex = bytes.fromhex
    assert header_hash({
        "version_app": 0, "chain_id": "provi", "height": 549, "time": 1_726_243_109_677_606_671,
        "last_block_id": (unhex("02E7201800A013798DE9CC5E158D227F465C6082C02891C27967CBB2E8D8322E"), 1,
                          unhex("F60555618ED4ABB2BECBA4A5D3C8B366FD1B2040F660774275B02ADEB6E8F1CA")),
        "last_commit_hash": unhex("BA41D70D0B4133C8E088D627034AD9B0AB1C4B7B471F11CBE078E54FB78F8459"),
        "data_hash": tree_head([]),
        "validators_hash": unhex("CD0FED96CC6A2F96F9D6220901E3FF609DC6B8C80A32D90C9F466ED14F97AF30"),
        "next_validators_hash": unhex("FAE16F233FBF640966E76C54102B09010A54786E227A26227353E4BD4F0EDF54"),
        "consensus_hash": unhex("048091BC7DDC283F77BFBF91D73C44DA58C3DF8A9CBC867405D8B7F3DAADA22F"),
        "app_hash": unhex("EEDC3EA34934725E9D2BF94C1D861B9E4438D7CBB76275B7F6C0C9EE23134238"),
        "last_results_hash": tree_head([]),
        "evidence_hash": unhex("051CD844C65A51852281128722BC6BE700F2CC288F6C4AB808E06D9EF82170E5"),
        "proposer": unhex("99BD3A72EF12CD024E7584B3AC900AE3743C6ADF"),
    }) == unhex("9A32DFAD3F04AB0573D91D08F12766A159E5ADFE4FA14DFD569B234DA5933ADB")
    # CometBFT, types/validator_set_test.go, TestAveragingInIncrementProposerPriorityWithVotingPower: powers 10, 1, 1
    # with addresses 0, 1, 2, after that many turns.
    for turns, proposer, priorities in [(1, 0, [-2, 1, 1]), (5, 1, [2, -7, 5]), (9, 2, [6, -3, -3]), (11, 0, [2, -1, -1])]:
        members = [Validator(None, power, 0) for power in (10, 1, 1)]
        for n, member in enumerate(members):
            member.address = bytes([n])
        made = Set(members)
        made.advance(turns)
        assert (made.proposer, made.priorities()) == (members[proposer], priorities)
    # The same file, TestAveragingInIncrementProposerPriority: without power only the average is subtracted.
    for priorities, average in [([1, 2, 3], 2), ([10, -10, 1], 0), ([100, -10, 1], 91 // 3)]:
        made = Set([Validator(None, 0, priority) for priority in priorities])
        made.centre()
        assert made.priorities() == [priority - average for priority in priorities]


def check_that_mistakes_show(correct):
    for mistake in MISTAKES:
        assert (rotations(mistake), averages(mistake)) != correct, f"no vector shows the mistake {mistake!r}"


def main():
    check_known_answers()
    correct = (rotations(), averages())
    check_that_mistakes_show(correct)
    made = {
        "made_by": "types/tests/vectors/generate.py",
        "rotations": correct[0],
        "averages": correct[1],
        "sign_bytes": sign_bytes(),
        "headers": headers(),
        "validator_sets": validator_sets(),
        "transactions": transactions(),
    }
    lines = [f"{json.dumps(name)}: " + (json.dumps(value) if isinstance(value, str) else
             "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in value) + "\n]")
             for name, value in made.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    assert json.loads(text) == json.loads(json.dumps(made))
    if "--check" in sys.argv[1:]:
        assert VECTORS.read_text() == text, "vectors.json is not what this program makes: run it without --check"
    else:
        VECTORS.write_text(text)


main()
