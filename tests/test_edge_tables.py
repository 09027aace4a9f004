"""Edge tables: ours come back equal, everybody else's come in, and what is wrong with one is said with its line."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region
from connectome.io import exchange, text_files
from connectome.io.edge_tables import read_csv, read_parquet, write_csv, write_parquet
from connectome.io.files import read_bytes
from tests.strategies import connectomes

FORMATS = {"x.csv": (write_csv, read_csv), "x.tsv": (write_csv, read_csv), "x.parquet": (write_parquet, read_parquet)}
Read = Callable[..., Connectome]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a table of edges, with nodes beside it, from texts."""

    def from_texts(edges: str | bytes, nodes: str | None = None) -> Connectome:
        (tmp_path / "x.csv").write_bytes(edges.encode() if isinstance(edges, str) else edges)
        if nodes is not None:
            (tmp_path / "x_nodes.csv").write_text(nodes)
        return read_csv(tmp_path / "x.csv")

    return from_texts


def labels(c: Connectome) -> dict[str, list[str] | None]:
    return {r.name: None if r.label is None else r.label.tolist() for r in c.regions.values()}


def named_edges(c: Connectome) -> set[tuple[str, str, float]]:
    """Name, name, weight of every edge."""
    names = {
        r.name: [f"{i}" for i in range(r.size)] if r.label is None else r.label.tolist() for r in c.regions.values()
    }
    return {
        (names[k.source][i], names[k.target][j], float(w))
        for k, e in c.edges.items()
        for i, j, w in zip(e.source, e.target, e.weight, strict=True)
    }


# What we write.


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15)
@given(c=connectomes())
def test_round_trip_is_exact(name: str, c: Connectome) -> None:
    write, read = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        write(c, Path(folder) / name)
        back = read(Path(folder) / name)
        assert back.digest() == c.digest()
        assert back.provenance == c.provenance
        assert sorted(p.name for p in Path(folder).iterdir()) == sorted(
            {name, name.replace(".", "_nodes."), *(["x_about.json"] if "parquet" not in name else [])}
        )


def test_equal_connectomes_make_equal_bytes(tmp_path: Path) -> None:
    c = _worm()
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        write_csv(c, tmp_path / folder / "x.csv")
        write_parquet(c, tmp_path / folder / "x.parquet")
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def _worm() -> Connectome:
    from connectome.wiring.edges import from_edge_list

    return from_edge_list(["AVAL", "AVAR"], ["AVAR", "AVAL"], [3.0, 2.5], region_of={"AVAL": "l", "AVAR": "r"})


def test_pandas_opens_both(tmp_path: Path) -> None:
    write_csv(_worm(), tmp_path / "x.csv")
    write_parquet(_worm(), tmp_path / "x.parquet")
    for edges, nodes in (
        (pd.read_csv(tmp_path / "x.csv"), pd.read_csv(tmp_path / "x_nodes.csv")),
        (pd.read_parquet(tmp_path / "x.parquet"), pd.read_parquet(tmp_path / "x_nodes.parquet")),
    ):
        assert edges.weight_pa.tolist() == [3.0, 2.5]
        assert edges.source_region.tolist() == ["l", "r"]
        assert nodes.label.tolist() == ["AVAL", "AVAR"]


# Everybody else's.


def test_names_are_nodes(read: Read) -> None:
    c = read("source,target,weight\nAVBL,AVAL,3\nAVAL,AVBL,2\nAVAL,AVBL,1\n")
    assert labels(c) == {"all": ["AVAL", "AVBL"]}
    assert sorted(c.edges["all", "local", "all"].weight.tolist()) == [1, 2, 3]  # type: ignore[index]  # a tuple is equal to a key
    assert named_edges(c) == {("AVBL", "AVAL", 3.0), ("AVAL", "AVBL", 2.0), ("AVAL", "AVBL", 1.0)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_other_names_delimiters_and_ends_of_lines(read: Read, delimiter: str, start: str, end: str) -> None:
    rows = [
        ["Pre", "POST", "N synapses", "pre-region", "Post Region", "note"],
        ["a", "b", "2", "V1", "motor (left)", ""],
    ]
    rows += [["b", "a", "4.5", "motor (left)", "V1", '"x"']]
    c = read(start + end.join(delimiter.join(row) for row in rows) + end)
    assert labels(c) == {"V1": ["a"], "motor_left": ["b"]}
    assert named_edges(c) == {("a", "b", 2.0), ("b", "a", 4.5)}
    assert c.edges[EdgeKey("V1", "long_range", "motor_left")].weight.tolist() == [2.0]


def test_regions_come_in_the_order_of_the_rows(read: Read) -> None:
    c = read("source,target,source_region,target_region\n1,2,z,m\n3,4,a,z\n")
    assert list(c.regions) == ["z", "m", "a"]


def test_numbers_are_counted_in_their_region(read: Read) -> None:
    c = read("source,target,source_region,target_region\n0,0,b,a\n1,0,b,b\n")
    assert labels(c) == {"b": None, "a": None}
    assert (c.regions["b"].size, c.regions["a"].size) == (2, 1)
    assert labels(read("source,target\n720575940,10\n10,9\n")) == {"all": ["9", "10", "720575940"]}


def test_tract_lengths_give_delays(read: Read) -> None:
    c = read("source,target,tract_length_mm\na,b,3\nb,a,0.01\n")
    e = c.edges[EdgeKey("all", "local", "all")]
    assert e.delay.tolist() == [1.0, 0.1]
    assert e.state["tract_length_um"].tolist() == [3000, 10]
    own = read("source,target,tract_length_um,delay_ms\na,b,3000,7\n").edges[EdgeKey("all", "local", "all")]
    assert own.delay.tolist() == pytest.approx([7.0])


def test_nodes_beside(read: Read) -> None:
    c = read(
        "source,target,kind\n7,9,long_range\n",
        "id,name,area,x,y,z,sign,other\n9,AVAL,V 1,1,2,3,-1,?\n5,AVDL,V 1,4,5,6,0,?\n7,AVAR,V2,7,8,9,1,?\n",
    )
    assert labels(c) == {"V_1": ["AVAL", "AVDL"], "V2": ["AVAR"]}
    assert c.regions["V_1"].position_um.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert c.regions["V_1"].sign.tolist() == [-1, 0]
    assert named_edges(c) == {("AVAR", "AVAL", 1.0)}
    by_name = read("source,target\nAVAR,AVAL\n")
    assert by_name.digest() == c.digest()


def test_spaces_at_the_ends_of_names_are_lost(read: Read) -> None:
    c = read("source,target,weight\nAVAL ,AVAR,3\nAVAR , AVAL,2\n", "name,region\nAVAR , V 1 \n AVAL,V 1\n")
    assert labels(c) == {"V_1": ["AVAR", "AVAL"]}
    assert named_edges(c) == {("AVAL", "AVAR", 3.0), ("AVAR", "AVAL", 2.0)}


def test_decimal_commas_are_read_between_semicolons(read: Read) -> None:
    c = read("source;target;weight;delay_ms\na;b;3,5;1\nb;a;-1,25e1;2,5\n")
    assert named_edges(c) == {("a", "b", 3.5), ("b", "a", -12.5)}
    assert sorted(c.edges[EdgeKey("all", "local", "all")].delay.tolist()) == [1, 2.5]


@pytest.mark.parametrize("packed", [("x.csv.gz", "x_nodes.csv"), ("x.csv.gz", "x_nodes.csv.gz"), ("x.tsv.GZ", "")])
def test_packed_tables(tmp_path: Path, packed: tuple[str, str]) -> None:
    separator = "\t" if "tsv" in packed[0] else ","
    texts = "source,target\na,b\n".replace(",", separator), "name,sign\nb,1\na,0\n"
    for name, text in zip(packed, texts, strict=True):
        data = text.encode()
        if name:
            (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    assert labels(exchange.read(tmp_path / packed[0])) == {"all": ["b", "a"] if packed[1] else ["a", "b"]}


def test_what_is_wrong_with_a_packed_table_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "x.csv.gz"
    whole = gzip.compress(b"source,target\n" + b"a,b\n" * 1000)
    for data in (b"source,target\na,b\n", whole[:30], whole[:-6]):
        place.write_bytes(data)
        with pytest.raises(ConnectomeError, match=r"x\.csv\.gz must be a gzip file"):
            exchange.read(place)
    place.write_bytes(whole)
    with pytest.raises(ConnectomeError, match=r"at most 2,000 bytes once it is unpacked"):
        read_bytes(place, 2000)
    (tmp_path / "x.h5.gz").write_bytes(whole)
    with pytest.raises(ConnectomeError, match="must end in one of"):
        exchange.read(tmp_path / "x.h5.gz")


COUNTS = "source,target,weight\na,b,3\nb,a,2\nb,c,0.5\n"


@pytest.mark.parametrize("nodes", ["name,sign\nc,0\nb,1\na,-1\n", "name,region,sign\nc,z,0\na,y,-1\nb,z,1\n"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_counts_are_negated_where_told_so(tmp_path: Path, nodes: str, ending: str) -> None:
    for name, text in (("x", COUNTS), ("x_nodes", nodes)):
        (tmp_path / f"{name}.csv").write_text(text)
        pd.read_csv(io.StringIO(text)).to_parquet(tmp_path / f"{name}.parquet")
    place = tmp_path / f"x.{ending}"
    with pytest.raises(ConnectomeError) as error:
        exchange.read(place)
    row = "line 2" if ending == "csv" else "row 0"
    assert f"{row}, weight must have its source's sign, -1; found 3. Read weights that are" in str(error.value)
    c = exchange.read(place, unsigned=True)
    assert named_edges(c) == {("a", "b", -3.0), ("b", "a", 2.0), ("b", "c", 0.5)}


def test_sizes_are_not_negative_and_need_signs(tmp_path: Path) -> None:
    place, nodes = tmp_path / "x.csv", tmp_path / "x_nodes.csv"
    place.write_text(COUNTS)
    with pytest.raises(ConnectomeError, match="a nodes file with a column sign"):
        exchange.read(place, unsigned=True)
    nodes.write_text("name,sign\nc,0\nb,1\na,-1\n")
    place.write_text(COUNTS + "a,c,-1\n")
    with pytest.raises(ConnectomeError, match="line 5, weight must be >= 0"):
        exchange.read(place, unsigned=True)
    place.write_text("0,1\n1,0\n")
    with pytest.raises(ConnectomeError, match="must have a column source"):
        exchange.read(place, unsigned=True)
    with pytest.raises(ConnectomeError, match="unsigned must go with one of csv, parquet; found matrix"):
        exchange.read(tmp_path / "x.npy", unsigned=True)


def test_a_table_of_no_rows_has_no_nodes(read: Read) -> None:
    assert read("source,target\n").n_neurons == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,weight\n1,2\n", "must have a column target"),
        ("source,target,source\n1,2,3\n", "line 1 must name each column once; found 'source' twice"),
        ("source,target,weight\nx,y,1\n\nz,y,foo\n", "line 4, weight must be a number; found 'foo'"),
        ("source,target,weight\nx,y,1\n\"z\n\",y,nan\n", "line 4, weight must be a finite number"),
        ("source,target,weight\nx,y,1e\n", "must be a number; found '1e'"),
        ("source,target,weight\nx,y,1_0\n", "must be a number; found '1_0'"),
        ("source,target,weight\nx,y,1\nz,y,\n", "line 3, weight must be a finite number; found nan"),
        ("source,target,weight\nx,y,inf\n", "line 2, weight must be a finite number; found inf"),
        ("source,target,weight\nx,y,1e99\n", "weight must be finite"),
        ("source,target\nx,\n", "line 2, target must be given"),
        ("source,target\nx\n", "line 2, target must be given"),
        ("source,target\nx,y,1\n", "must have rows of 2 fields"),
        ("source,target\nx,y\nx,y,1\n", "as its header has; found Expected 2 fields in line 3, saw 3"),
        ('source,target\n"x,y\n', "EOF inside string"),
        ("source,target,delay_ms\na,b,0\n", "line 2, delay_ms must be 0.1 .. 6553.5 ms"),
        ("source,target,delay_ms\na,b,1e300\n", "line 2, delay_ms must be"),
        ("source,target,length_um\na,b,-1\n", "line 2, tract_length must be >= 0"),
        ("source,target,source_region\na,b,c\n", "must have source_region and target_region, or neither"),
        ("source,target,source_region,target_region\na,b,c,\n", "line 2, target_region must be given"),
        ("source,target,source_region,target_region\na,b,?,c\n", "region must be letters"),
        ("source,target,source_region,target_region\na,b,é,c\nb,a,c,e\n", "must differ in"),
        ("source,target,source_region,target_region\nx,y,b,a\nz,y,b,b\n", "line 3, region must be the same for 'y'"),
        ("source,target,kind\na,b,afferent\n", "must be 'local'"),
        ("source,target,birth_stage\na,b,1.5\n", "must be integers"),
        ("source,target\na\0,b\n", "line 2 must be text without the character NUL"),
        ("source,target\n" + "x" * 200 + ",b\n", "must be printable text of at most 128 characters"),
        ("", "must be a square matrix, or a table of edges"),
        ("von,nach,gewicht\na,b,1\nb,a,2\n", "line 1 must name columns source and target, or be a square matrix of "
         "numbers; found von, nach, gewicht. Other names for source: pre, presynaptic"),
        ("source;target;weight\na;b;1,5\nb;a;2.5\n", "line 3, weight must be a number; found '2.5'. Elsewhere it"),
        ("source\ttarget\tweight\na\tb\t1,5\n", "line 2, weight must be a number; found '1,5'. Write a decimal"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(read: Read, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConnectomeError) as error:
        read(text)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("name,region\nb,r\na,q\na,q\n", "x_nodes.csv: line 4, label must be given once; found 'a'"),
        ("name,region\nb,r\nc,q\n", "x.csv: line 2, source must be in"),
        ("name,region\nb,r\na,\n", "x_nodes.csv: line 3, region must be given"),
        ("name,x\nb,1\na,b\n", "x_nodes.csv: line 3, x must be a number"),
        ("region\nb\n", "must have a column id, label or name"),
        ("name,index\na,0\nb,1\n", "x.csv: line 2, source must be a number counted from 0"),
        ("name,sign\na,2\nb,1\n", "sign must be -1, 0 or +1"),
        ("name,role\na,king\nb,1\n", "role must be one of"),
    ],
)
def test_what_is_wrong_with_nodes_is_said(read: Read, nodes: str, message: str) -> None:
    with pytest.raises(ConnectomeError) as error:
        read("source,target\na,b\n", nodes)
    assert message in str(error.value)


def test_a_huge_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1 << 21)
    (tmp_path / "a.csv").write_text("source,target,weight\na,b,1\n" + "c,d,1\n" * 10**6)
    assert read_csv(tmp_path / "a.csv").n_edges == 10**6 + 1
    (tmp_path / "a.csv").write_text("source,target,weight\na,b,1\nc,d," + "1" * (1 << 23) + "\n")
    with pytest.raises(ConnectomeError, match=r"a.csv: line 3 must have at most 2,097,152 bytes; found more"):
        read_csv(tmp_path / "a.csv")


def test_nothing_is_a_formula_where_that_is_asked_for(tmp_path: Path) -> None:
    known: Any = {"class": ["-", None, "+k"], "v": [-1.0, 2, 3]}
    cells = Region("a", 3, label=np.array(["=1+1", "x", "@b"]), attributes=known)
    edges = EdgeSet.from_arrays(("a", "local", "a"), [0], [1], [-2.0], n_source=3, n_target=3, dt_ms=0.1)
    write_csv(Connectome.of([cells], [edges]), tmp_path / "a.csv", formulas=False)
    nodes = pd.read_csv(tmp_path / "a_nodes.csv", dtype=str)
    assert nodes["label"].tolist() == ["'=1+1", "x", "'@b"]
    assert nodes["class"].fillna("").tolist() == ["'-", "", "'+k"]
    assert nodes["v"].tolist() == ["-1.0", "2.0", "3.0"], "numbers are numbers"
    assert read_csv(tmp_path / "a.csv").n_edges == 1


def test_other_encodings_are_refused(read: Read) -> None:
    for text in ("source,target\nä,b\n".encode("latin-1"), "source,target\nä,b\n".encode("utf-16")):
        with pytest.raises(ConnectomeError, match="must be text in UTF-8"):
            read(text)


@pytest.mark.parametrize("about", ["[]", "{", '{"dt_ms": "x"}', '{"regions": 3}', '{"dt_ms": -1}', "[" * 100_000])
def test_what_is_wrong_with_the_rest_is_said(read: Read, tmp_path: Path, about: str) -> None:
    (tmp_path / "x_about.json").write_text(about)
    with pytest.raises(ConnectomeError, match=r"x\.csv|x_about"):
        read("source,target\na,b\n")


# Parquet from elsewhere.


def test_parquet_of_another(tmp_path: Path) -> None:
    table = pd.DataFrame({"pre": [9007199254740993, 5], "post": [5, 9007199254740993], "Weight": [1, 2]})
    table.to_parquet(tmp_path / "x.parquet")
    c = read_parquet(tmp_path / "x.parquet")
    assert labels(c) == {"all": ["5", "9007199254740993"]}
    assert named_edges(c) == {("9007199254740993", "5", 1.0), ("5", "9007199254740993", 2.0)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pre": ["a"]}, "must have a column target"),
        ({"pre": ["a", None], "post": ["b", "c"]}, "row 1, source must be given"),
        ({"pre": ["a"], "post": ["b"], "weight": ["c"]}, "must be a parquet table"),
        ({"pre": ["a"], "post": ["b"], "weight": [float("nan")]}, "row 0, weight must be a finite number"),
        ({"pre": [["a"]], "post": ["b"]}, "must be a parquet table"),
    ],
)
def test_wrong_parquet_is_refused(tmp_path: Path, table: dict[str, object], message: str) -> None:
    pd.DataFrame(table).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ConnectomeError) as error:
        read_parquet(tmp_path / "x.parquet")
    assert message in str(error.value)


def test_parquet_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    part = pyarrow.table({"source": pyarrow.array(["a"] * 1000).dictionary_encode(), "target": ["b"] * 1000})
    with pyarrow.parquet.ParquetWriter(tmp_path / "x.parquet", part.schema) as writer:
        writer.write_table(part)
    (tmp_path / "y.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-20])
    for name, wrong in (("y", "must be a parquet table"), ("z", "must be a file that can be read")):
        with pytest.raises(ConnectomeError, match=wrong):
            read_parquet(tmp_path / f"{name}.parquet")
    assert read_parquet(tmp_path / "x.parquet").n_edges == 1000


def test_metadata_is_not_believed(tmp_path: Path) -> None:
    write_csv(_worm(), tmp_path / "x.csv")
    about = json.loads((tmp_path / "x_about.json").read_text())
    about["regions"][0]["neuron"]["tau_m_ms"] = -1
    (tmp_path / "x_about.json").write_text(json.dumps(about))
    with pytest.raises(ConnectomeError, match="tau_m_ms must be > 0"):
        read_csv(tmp_path / "x.csv")


def test_weights_keep_their_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    weight = bits[np.isfinite(bits)]
    from connectome.wiring.edges import from_edge_list

    c = from_edge_list(rng.integers(0, 9, weight.size).tolist(), rng.integers(0, 9, weight.size).tolist(), weight)
    write_csv(c, tmp_path / "x.csv")
    assert read_csv(tmp_path / "x.csv").digest() == c.digest()


# State of neurons


def test_state_of_neurons_in_ones_own_table(read: Read) -> None:
    c = read("source,target\nx,y\n", "name,region,state_Gain,note\nx,v1,0.5,\ny,v2,,\n")
    assert {r.name: dict(r.state) for r in c.regions.values()} == {"v1": {"Gain": [0.5]}, "v2": {}}


def test_state_of_neurons_must_be_numbers(read: Read) -> None:
    with pytest.raises(ConnectomeError, match=r"x_nodes.csv: line 3, state_code must be a number; found 'CA'"):
        read("source,target\nx,y\n", "name,state_code\nx,1\ny,CA\n")
