"""Damage to files, at random: for tests/fuzz_readers.py.

A file is changed as bytes, as text, or as what it is: an archive, an HDF5 file, a PNG, a MATLAB file, JSON. The latter
is taken apart, changed and put together again with right checksums, so that the damage gets behind them.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

import h5py
import numpy as np

from connectome.io.heaps import check_heaps_of

__all__ = ["Tree", "mutate"]

#: An input: files by their names in a folder. An empty folder's name ends in ``/``.
Tree = dict[str, bytes]

_INTEGERS: Final = (
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    -(2**63),
)
_NUMBERS: Final = (
    b"-1", b"0", b"1e999", b"-1e999", b"nan", b"NaN", b"inf", b"-Infinity", b"1e308", b"5e-324", b"2147483648",
    b"-2147483649", b"9223372036854775808", b"1" * 400, b"0x10", b"1_000", b"", b"1.5", b"+", b"1e", b"99999999",
    "٣".encode(), b"-0.0", b"true",
)  # fmt: skip
_NAMES: Final = ("../x", "/x", "", "..", ".", "a/b", "x" * 300, "ü", "\\x", "\x01", "C:x", "nul\x00")
_BYTES: Final = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\r\n", b'"', b"'", b"<", b"&#0;", b"&#1114112;",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"]]>", b"\xed\xa0\x80", b"\x1a", b"\xe2\x80\xa8", b"{", b"[" * 3000,
    b"(", b"\\", b"\\u0000", b"\\ud800", b"#", b"=", b"..", b"%s", b"\t", b",", b";", b",,", b"A" * 5000,
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf"),
    float("-inf"), "", "x", "0", "nan", "\0", "\ud800", "a\nb", "x" * 5000, [], {}, [[]], [None],
    {"": None}, [0, "a"], {"a": {"b": []}},
    [1] * 50,
)  # fmt: skip
_NUMBER: Final = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


def mutate(tree: Tree, random: Random, words: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> Tree:
    """The same files, one or a few of them damaged. ``words`` are put in, ``others`` spliced in. No input is changed;
    equal arguments make equal results."""
    changed = dict(tree)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if changed and random.random() < 0.04:
            _rearranged(changed, random)
            continue
        files = [name for name in changed if not name.endswith("/")]
        if not files:
            break
        name = random.choice(files)
        changed[name] = _file(changed[name], random, [*words, *_BYTES], others)
    return changed


def _rearranged(tree: Tree, random: Random) -> None:
    names = list(tree)
    one, two = random.choice(names), random.choice(names)
    match random.randrange(4):
        case 0:
            del tree[one]
        case 1:
            tree[one], tree[two] = tree[two], tree[one]
        case 2 if "/" not in one:
            del tree[one]
            tree[f"{one}/"] = b""
        case _:
            tree[one] = b""


def _file(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """As what it is, mostly; what is too damaged for that, as bytes."""
    kinds: list[tuple[bytes, Callable[..., bytes]]] = [
        (b"PK\x03\x04", _zip), (b"\x1f\x8b", _gzip), (b"\x89HDF", _hdf5), (b"\x89PNG", _png), (b"MATLAB", _mat),
        (b"{", _json), (b"[", _json), (b"PAR1", _parquet),
    ]  # fmt: skip
    change = next((f for start, f in kinds if data.startswith(start)), None)
    if change is None and data[257:262] == b"ustar":
        change = _tar
    if change is not None and random.random() < 0.75:
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return change(data, random, words, others)
    if random.random() < 0.85 and _is_text(data):
        return _text(data, random, words)
    return _bytes(data, random, words, others)


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:1000] and sum(c < 9 or c > 126 for c in data[:1000]) < 100


# Bytes and text


def _bytes(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    length = random.choice((1, 2, 4, 8, 16, 64, 512, 4096))
    match random.randrange(9):
        case 0 | 1 if data:
            flipped = bytearray(data)
            for _ in range(random.choice((1, 1, 2, 8))):
                flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(flipped)
        case 2:
            return data[:at]
        case 3:
            code = random.choice("bhiq")
            size, order = struct.calcsize(code), random.choice("<>")
            value = (random.choice(_INTEGERS) + random.randrange(-1, 2)) % (1 << 8 * size)
            return data[:at] + struct.pack(order + code.upper(), value) + data[at + size :]
        case 4:
            return data[:at] + data[at + length :]
        case 5:
            return data[: at + length] + data[at : at + length] * random.choice((1, 2, 20)) + data[at + length :]
        case 6:
            return data[:at] + random.choice(words) + data[at + random.choice((0, 0, length)) :]
        case 7 if others:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            return data[:at] + other[start : start + length] + data[at + length :]
        case _:
            return data[:at] + random.randbytes(length) + data[at + length :]


def _text(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """Its numbers, words and lines."""
    match random.randrange(20):
        case 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7:
            found = list(_NUMBER.finditer(data))
            if found:
                one = random.choice(found)
                return data[: one.start()] + random.choice(_NUMBERS) + data[one.end() :]
        case 8 | 9 | 10 | 11 | 12 | 13:
            found = list(re.finditer(rb"[A-Za-z_][\w.]*", data))
            if found:
                one, other = random.choice(found), random.choice(found)
                return data[: one.start()] + random.choice((other[0], random.choice(words))) + data[one.end() :]
        case 14 | 15 | 16 | 17 | 18:
            lines = data.splitlines(keepends=True) or [b""]
            i, j = random.randrange(len(lines)), random.randrange(len(lines))
            lines[i : i + 1] = random.choice(
                ([], [lines[i], lines[i]], [lines[j]], [lines[i].rstrip(b"\r\n")], [lines[i]] * 50)
            )
            return b"".join(lines)
    encoding = random.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32-be", "utf-7"))
    return data.decode("utf-8", "replace").encode(encoding, "replace")


def _json(data: bytes, random: Random, *_: Any) -> bytes:
    return json.dumps(_value(json.loads(data), random)).encode()


def _value(value: Any, random: Random) -> Any:
    """With something in it changed."""
    if isinstance(value, dict) and value and random.random() < 0.93:
        key = random.choice(list(value))
        match random.randrange(12):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {(random.choice(_NAMES) if k == key else k): v for k, v in value.items()}
        return value | {key: _value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.93:
        at = random.randrange(len(value))
        match random.randrange(12):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
        return [*value[:at], _value(value[at], random), *value[at + 1 :]]
    return random.choice(_VALUES)


# Archives


def _zip(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(m.filename, archive.read(m)) for m in archive.infolist()]
    at = random.randrange(len(members))
    name, content = members[at]
    attributes = 0
    match random.randrange(10):
        case 0:
            name = random.choice((f"../{name}", f"/{name}", f"a\\{name}", f"{name}/", *_NAMES))
        case 1:
            members.append((name, content))
        case 2:
            del members[at]
        case 3:
            attributes = 0o120777 << 16  # a link
        case 4 if random.random() < 0.2:
            content = b"\0" * (1 << random.randrange(16, 24))
        case _:
            content = _file(content, random, words, others)
    members[at : at + 1] = [(name, content)]
    buffer = io.BytesIO()
    method = random.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        for place, (member, inside) in enumerate(members):
            info = zipfile.ZipInfo(member or "x")
            info.external_attr = attributes if place == at else 0
            archive.writestr(info, inside, method)
    return buffer.getvalue()


def _gzip(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    content = gzip.decompress(data)
    if random.random() < 0.01:
        return gzip.compress(content + b"\0" * (1 << 24), mtime=0)
    return gzip.compress(_file(content, random, words, others), 1, mtime=0)


def _tar(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A member's content, or its header, with the right checksum."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(m, (archive.extractfile(m) or io.BytesIO()).read()) for m in archive]
    member, content = random.choice(members)
    if random.random() < 0.5:
        at = members.index((member, content))
        content = _file(content, random, words, others)
        member.size = len(content)
        members[at] = member, content
    else:
        match random.randrange(5):
            case 0:
                member.name = random.choice((f"../../{member.name}", f"/{member.name}", *_NAMES))
            case 1:
                member.type = random.choice(
                    (
                        tarfile.SYMTYPE,
                        tarfile.LNKTYPE,
                        tarfile.CHRTYPE,
                        tarfile.FIFOTYPE,
                        tarfile.GNUTYPE_SPARSE,
                        tarfile.DIRTYPE,
                        tarfile.XGLTYPE,
                    )
                )
                member.linkname = random.choice(("/dev/null", member.name, "../x"))
            case 2:
                member.size = abs(random.choice(_INTEGERS))
            case 3:
                member.pax_headers = {
                    random.choice(("size", "path", "GNU.sparse.size", "GNU.sparse.map", "x")): random.choice(
                        ("-1", "99999999999999", "1,2", "x")
                    )
                }
            case _:
                members.append((member, content))
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=random.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    ) as archive:
        for one, inside in members:
            buffer.write(one.tobuf(archive.format))
            buffer.write(inside.ljust(-(-len(inside) // 512) * 512, b"\0"))
    return buffer.getvalue()


def _png(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = random.randrange(len(chunks))
    name, content = chunks[place]
    if name == b"IDAT" and random.random() < 0.7:
        content = zlib.compress(_bytes(zlib.decompress(content), random, words, others))
    elif random.random() < 0.8:
        content = _bytes(content, random, words, others)
    else:
        name = random.choice(
            (b"tEXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"acTL", b"fdAT", b"IEND", b"iTXt", b"eXIf", b"IDAT")
        )
    chunks[place : place + 1] = [(name, content)] * random.choice((1, 1, 1, 2))
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return data[:8] + b"".join(packed)


def _mat(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A variable, compressed again."""
    parts, at = [], 128
    while at + 8 <= len(data):
        kind, size = struct.unpack("<II", data[at : at + 8])
        parts.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    place = random.randrange(len(parts))
    kind, content = parts[place]
    if kind == 15:
        content = zlib.compress(_bytes(zlib.decompress(content), random, words, others))
    else:
        content = _bytes(content, random, words, others)
    parts[place : place + 1] = [(kind, content)] * random.choice((1, 1, 1, 0, 2))
    return data[:128] + b"".join(struct.pack("<II", k, len(c)) + c for k, c in parts)


# Tables


def _parquet(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A column, or what the table says of itself."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    at = random.randrange(len(table.column_names))
    name, column = table.column_names[at], table.column(at).to_pylist()
    some = random.randrange(max(len(column), 1))
    match random.randrange(8):
        case 0:
            table = table.remove_column(at)
        case 1:
            table = table.append_column(random.choice((name, "x", "", "state_x", "weight")), table.column(at))
        case 2:
            column = [random.choice((None, "x", 1, -1, 2.5, b"\xff", [1], {"a": 1}))] * len(column)
            table = table.set_column(at, name, pyarrow.array(column))
        case 3:
            kind = random.choice(
                ("string", "float64", "int8", "uint64", "bool_", "binary", "float16", "date32", "null")
            )
            table = table.set_column(at, name, table.column(at).cast(getattr(pyarrow, kind)(), safe=False))
        case 4:
            about = json.dumps(_value(json.loads((table.schema.metadata or {}).get(b"connectome", b"{}")), random))
            table = table.replace_schema_metadata({b"connectome": about.encode()})
        case 5:
            table = pyarrow.concat_tables([table] * random.choice((2, 50))) if some else table.slice(1)
        case _:
            wrong: tuple[Any, ...] = (None, float("nan"), float("inf"), -1.0, 1e308, 2.0**53, 0.5)
            if column and isinstance(column[0], int):
                wrong = (None, -1, 2**31, 2**62, -(2**62), 7)
            elif column and isinstance(column[0], str):
                wrong = (None, "", "x" * 9000, "\0", "a,b", "../x", *column[:1])
            column[some : some + 1] = [random.choice(wrong)]
            table = table.set_column(at, name, pyarrow.array(column))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        table, buffer, compression=random.choice(("none", "snappy", "gzip", "zstd", "brotli")),
        use_dictionary=random.choice((True, False)), write_page_checksum=random.choice((True, False)),
        row_group_size=random.choice((1, 1000)),
    )  # fmt: skip
    return buffer.getvalue()


# HDF5


def _hdf5(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A group, dataset or attribute. HDF5 checks no more than its own headers, so all checksums are right."""
    check_heaps_of(data)  # HDF5 must not read it for ever here
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        places: list[str] = []
        file.visit(places.append)
        chance = random.random()
        if chance < 0.1 and len(file.attrs):
            _attribute(file, random, words)
        elif chance < 0.35 and (texts := [p for p in places if _is_of_texts(file[p])]):  # which are parsed
            _dataset(file, random.choice(texts), random, words)
        else:
            _hdf5_place(file, random.choice(places), places, random, words)
    return buffer.getvalue()


def _is_of_texts(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "SO"


def _attribute(item: Any, random: Random, words: Sequence[bytes]) -> None:
    """One of an item's; a text is changed, mostly, or another kind of value."""
    name = random.choice(list(item.attrs))
    value = item.attrs[name]
    if isinstance(value, str) and random.random() < 0.7:
        changed = _word(value.encode("utf-8", "replace"), random, words)
        item.attrs[name] = changed.decode() if changed.isascii() else np.bytes_(changed)
    else:
        item.attrs[name] = random.choice(_attributes())


def _hdf5_place(file: Any, place: str, places: list[str], random: Random, words: Sequence[bytes]) -> None:
    item = file[place]
    if len(item.attrs) and random.random() < 0.15:
        _attribute(item, random, words)
        return
    if isinstance(item, h5py.Dataset) and random.random() < 0.8:
        _dataset(file, place, random, words)
        return
    match random.randrange(8):
        case 0:
            del file[place]
        case 1 | 2:
            del file[place]
            link = random.choice(
                (h5py.SoftLink("/"), h5py.SoftLink(f"/{place}"), h5py.SoftLink("/nowhere"),
                 h5py.SoftLink(random.choice(places)), h5py.ExternalLink("input.h5", "/"),
                 h5py.ExternalLink("/dev/null", "/x"))
            )  # fmt: skip
            file[place] = link
        case 3:
            other = file[random.choice(places)]  # a cycle, if it is around this one
            del file[place]
            file[place] = other
        case 4:
            file.move(place, place.rpartition("/")[0] + "/" + (random.choice(_NAMES).replace("\0", "") or "x"))
        case 5:
            del file[place]
            file.create_group(place)
        case 6:
            del file[place]
            file[place] = np.dtype("<f8")
        case _:
            group = item if isinstance(item, h5py.Group) else item.parent
            group.create_dataset(random.choice(("x", "0", "label", "y" * 200)), data=random.choice(_attributes()))


def _attributes() -> tuple[Any, ...]:
    return (
        np.int64(-1), np.int64(2**62), np.int8(1), np.uint64(2**64 - 1), 2.5, np.nan, np.inf, "x", "", b"x",
        "x" * 4000, np.zeros(0), np.zeros(3), np.array(["a", "b"], object), np.array([b"\xff"]), np.array(b"\xff\xfe"),
        h5py.Empty("f"), np.float32(0.1), np.bool_(True), "ms", "{}", "[]", '{"a": 1}',
        np.array([(1, 2.0)], "i4,f8"), np.array(["[[" * 500], object), 1 + 2j, np.array([1, 2], np.int32),
    )  # fmt: skip


def _dataset(file: Any, place: str, random: Random, words: Sequence[bytes]) -> None:
    """Its values in place, or another in its place."""
    old = file[place]
    shape, dtype, attributes = old.shape, old.dtype, dict(old.attrs)
    if random.random() < 0.6 and shape is not None and old.size and dtype.kind in "iufSOV":
        _values(file, place, random, words)
        return
    values = old[...] if shape is not None and old.size and old.size < 1 << 20 else np.zeros(3)
    chunks = tuple(max(1, n) for n in values.shape) or None
    del file[place]
    make = file.create_dataset
    match random.randrange(13):
        case 0:
            made = make(place, data=values, chunks=chunks, compression="gzip", shuffle=True)
        case 1:
            made = make(place, data=values)  # contiguous
        case 2:
            huge = random.choice(((2**40,), (2**31, 2**31), (10**6,), (2**62,), (0,), (), (1,) * 32, (2**33, 0)))
            made = make(
                place,
                shape=huge,
                dtype=dtype if dtype.kind in "iuf" else "f8",
                chunks=tuple(min(n, 1000) or 1 for n in huge) or None,
                compression=random.choice((None, "gzip")) if huge else None,
            )
        case 3:
            made = make(place, data=values[: len(values) // 2] if values.ndim else values)
        case 4:
            made = make(place, data=np.concatenate([values, values]) if values.ndim else values, chunks=None)
        case 5 if dtype.kind in "iuf":
            other = random.choice((">f8", "<f4", ">i4", "i1", "u8", "f2", "c16", "S3", "?", "<i8", "<u2"))
            made = make(place, data=values.astype(other), chunks=chunks)
        case 6:
            made = make(place, data=np.array(["x", "\u00fc" * 40, ""], object), dtype=h5py.string_dtype())
        case 7:
            layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
            layout[:] = h5py.VirtualSource(
                "/dev/null" if random.random() < 0.5 else ".", random.choice((place, "x")), shape=(3,)
            )
            made = file.create_virtual_dataset(place, layout)
        case 8:
            # What is written to it by later damage goes to that file: it must be one that keeps nothing.
            made = make(place, shape=(3,), dtype="u1", external=[("/dev/null", 0, 3)])
        case 9:
            made = make(place, data=h5py.Empty(random.choice(("f8", "i4", "S3"))))
        case 10:
            made = make(
                place,
                data=values,
                chunks=chunks,
                **random.choice(({"compression": "lzf"}, {"scaleoffset": 2}, {"fletcher32": True}, {"shuffle": True})),
            )
        case 11:
            made = make(
                place,
                shape=(2,),
                dtype=random.choice(
                    (
                        h5py.vlen_dtype(np.int32),
                        h5py.ref_dtype,
                        h5py.enum_dtype({"a": 1, "b": 2}),
                        np.dtype("(2,3)f4"),
                        np.dtype([("name", "S2"), ("size", "i8")]),
                        h5py.regionref_dtype,
                    )
                ),
            )
        case _:
            made = make(place, data=random.choice(_attributes()))
    for name, value in attributes.items():
        with suppress(Exception):
            made.attrs[name] = value


def _values(file: Any, place: str, random: Random, words: Sequence[bytes]) -> None:
    """Some values of a dataset."""
    dataset = file[place]
    values = dataset[...]
    part = values[random.choice(dataset.dtype.names)] if dataset.dtype.names else values
    if part.dtype.kind == "S" and part.size == 1:  # a text, of any length
        changed = np.array([_word(bytes(part.reshape(-1)[0]), random, words)])
        attributes = dict(dataset.attrs)
        del file[place]
        file.create_dataset(place, data=changed, chunks=(1,), fletcher32=True).attrs.update(attributes)
        return
    flat = part.reshape(-1)
    for _ in range(random.choice((1, 1, 3))):
        at, other = random.randrange(flat.size), random.randrange(flat.size)
        match part.dtype.kind:
            case "f":
                flat[at] = random.choice((np.nan, np.inf, -np.inf, -1.0, 0.0, 1e38, -0.0, 1e-40, flat[other]))
            case "i" | "u":
                wrong = random.choice((*_INTEGERS, int(flat[other]), int(flat[at]) + 1, int(flat[at]) - 1))
                bits = np.array(wrong % (1 << 64), np.uint64)
                flat[at] = bits.astype(f"u{part.dtype.itemsize}").astype(part.dtype)
            case "S":
                flat[at] = _word(bytes(flat[at]), random, words)[: part.dtype.itemsize]
            case "O":
                flat[at] = _word(b"", random, words)
    dataset[...] = values  # of which the part is a view


def _word(text: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """Another text, for HDF5, which ends them at NUL."""
    changed = random.choice((*words, b"", b"x", b"\xff", b"9" * 30))
    if text[:1] in (b"{", b"[") and random.random() < 0.8:
        with suppress(Exception):
            changed = _json(text, random)
    elif random.random() < (0.8 if b"\n" in text else 0.3):
        changed = _text(text, random, words)
    return changed.replace(b"\0", b"?") or b"x"
