"""Measured connectomes by name: small files with the columns that the real ones have."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from connectome import Connectome, ConnectomeError
from connectome.experiment import animate, preset
from connectome.io import exchange
from connectome.io.measured import MEASURED, download, read, recognise
from sims.benchmarks.fly import fly_like, write_files

feather = pytest.importorskip("pyarrow.feather")

ROOT = 720575940000000000


def packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def labels_of(c: Connectome, region: str) -> list[str]:
    """What each neuron is called."""
    label = c.regions[region].label
    assert label is not None
    return list(map(str, label))


def edges_of(c: Connectome) -> dict[tuple[str, str], float]:
    """Labels of both ends -> weight, summed."""
    (e,) = c.edges.values()
    label = labels_of(c, e.key.source)
    found: dict[tuple[str, str], float] = {}
    for i, j, w in zip(e.source, e.target, e.weight, strict=True):
        pair = str(label[i]), str(label[j])
        found[pair] = found.get(pair, 0.0) + float(w)
    return found


def told(c: Connectome, name: str) -> list[Any]:
    (region,) = c.regions.values()
    return region.attributes[name].tolist()


# FlyWire


def codex(folder: Path) -> None:
    a, b, c, d = (ROOT + k for k in range(4))
    packed(
        folder / "connections.csv.gz",
        f"pre_root_id,post_root_id,neuropil,syn_count,nt_type\n{a},{b},AL_R,9,ACH\n{a},{b},AL_L,5,ACH\n{b},{c},LO_R,6,GABA\n",
    )
    packed(
        folder / "neurons.csv.gz",
        "root_id,group,nt_type,nt_type_score,da_avg,ser_avg,gaba_avg,glut_avg,ach_avg,oct_avg\n"
        f"{b},LO,GABA,0.9,0,0,0.9,0,0.1,0\n{a},AL,ACH,0.6,0,0,0,0,0.6,0\n{d},,,,,,,,,\n{c},AL,ACH,0.7,0,0,0,0,0.7,0\n",
    )
    packed(
        folder / "classification.csv.gz",
        "root_id,flow,super_class,class,sub_class,hemilineage,side,nerve\n"
        f"{a},afferent,sensory,olfactory,,,left,AN\n{b},intrinsic,central,,,LALa1,right,\n",
    )
    packed(folder / "consolidated_cell_types.csv.gz", f"root_id,primary_type,additional_type(s)\n{c},DA1_lPN,\n")
    packed(
        folder / "coordinates.csv.gz", f"root_id,position,supervoxel_id\n{a},[400000 200000 80000],7\n{a},[1 1 1],8\n"
    )
    packed(folder / "cell_stats.csv.gz", f"root_id,length_nm,area_nm,size_nm\n{a},1000,20,30\n")


def test_codex_tables_of_flywire(tmp_path: Path) -> None:
    codex(tmp_path)
    assert recognise(tmp_path) == "flywire"
    c = exchange.read(tmp_path)
    label = [str(ROOT + k) for k in (1, 0, 3, 2)]
    assert labels_of(c, "brain") == label, "in the order of the table of neurons"
    assert edges_of(c) == {(label[1], label[0]): 14.0, (label[0], label[3]): 6.0}
    (e,) = c.edges.values()
    assert e.attributes["neuropil"].tolist() == ["LO_R", "AL_R", "AL_L"]
    assert told(c, "nt_type") == ["GABA", "ACH", None, "ACH"]
    assert told(c, "super_class") == ["central", "sensory", None, None]
    assert told(c, "hemilineage") == ["LALa1", None, None, None]
    assert told(c, "primary_type") == [None, None, None, "DA1_lPN"]
    assert told(c, "area_nm")[1] == 20
    assert "additional_type_s" not in c.regions["brain"].attributes, "nothing is known of it"
    np.testing.assert_allclose(c.regions["brain"].position_um[1], [400, 200, 80])  # nanometres: beyond its sections
    assert np.isnan(c.regions["brain"].position_um[[0, 2, 3]]).all()
    assert c.provenance.stage_name == "flywire"
    network, account = animate(c, preset("shiu2024"))
    assert (account.excitatory, account.inhibitory, account.sign_by) == (2, 1, "nt_type of neurons")
    assert set(exchange.read(tmp_path, regions_from="super_class").regions) == {"central", "sensory", "unknown"}
    del network


def test_places_in_voxels(tmp_path: Path) -> None:
    codex(tmp_path)
    packed(tmp_path / "coordinates.csv.gz", f"root_id,position,supervoxel_id\n{ROOT},[100000 50000 2000],7\n")
    np.testing.assert_allclose(read("flywire", tmp_path).regions["brain"].position_um[1], [400, 200, 80])


def test_two_tables_of_edges_are_not_guessed_between(tmp_path: Path) -> None:
    codex(tmp_path)
    (tmp_path / "connections_princeton.csv.gz").write_bytes((tmp_path / "connections.csv.gz").read_bytes())
    with pytest.raises(
        ConnectomeError, match=r"one table of edges.*connections.csv.gz, connections_princeton.*Name the"
    ):
        read("flywire", tmp_path)
    assert read("flywire", tmp_path / "connections_princeton.csv.gz").n_edges == 3


def test_the_model_of_shiu(tmp_path: Path) -> None:
    """The files that their model reads; signs are those of its column."""
    fly = fly_like(60, 300)
    write_files(fly, tmp_path)
    assert recognise(tmp_path) == "shiu2024"
    c = exchange.read(tmp_path)
    (e,) = c.edges.values()
    np.testing.assert_array_equal(e.source, fly.source)
    np.testing.assert_array_equal(e.target, fly.target)
    np.testing.assert_array_equal(e.weight, fly.synapses * fly.sign[fly.source])
    sends = np.bincount(fly.source, minlength=60) > 0
    np.testing.assert_array_equal(c.regions["brain"].sign, np.where(sends, fly.sign, 0))
    assert labels_of(c, "brain") == [str(i) for i in fly.id]
    assert animate(c, preset("shiu2024"))[1].sign_by == "their weights"
    lines = (tmp_path / "Completeness_783.csv").read_text().splitlines()
    (tmp_path / "Completeness_783.csv").write_text("\n".join([*lines[:3], lines[2], *lines[3:]]))
    with pytest.raises(ConnectomeError, match=r"Completeness_783.csv: row 2 must have each cell once; found \d+\."):
        read("shiu2024", tmp_path)


def test_the_repositorys_files_of_flywire(tmp_path: Path) -> None:
    columns = {"pre_pt_root_id": [ROOT, ROOT], "post_pt_root_id": [ROOT + 1, ROOT + 9], "neuropil": ["AL_R", "AL_L"]}
    columns |= {"syn_count": [3, 4], "gaba_avg": [0.5, None]}
    feather.write_feather(pd.DataFrame(columns), str(tmp_path / "proofread_connections_783.feather"))
    np.save(tmp_path / "proofread_root_ids_783.npy", np.array([ROOT + 2, ROOT + 1, ROOT]))
    assert recognise(tmp_path) == "flywire783"
    c = exchange.read(tmp_path)
    assert edges_of(c) == {(str(ROOT), str(ROOT + 1)): 3.0}
    assert c.regions["brain"].size == 3
    assert c.provenance.versions["left out"] == "1 of 2 edges, to or from no known cell"
    assert next(iter(c.edges.values())).attributes["gaba_avg"].tolist() == [0.5]


# Janelia's


def adjacencies(folder: Path, connections: str) -> None:
    (folder / "traced-neurons.csv").write_text("bodyId,type,instance\n11,KCg,KCg_R\n12,,\n13,MBON01,MBON01_L\n")
    (folder / connections).write_text("bodyId_pre,bodyId_post,weight\n11,13,7\n12,11,2\n")
    (folder / "traced-connections-per-roi.csv").write_text("bodyId_pre,bodyId_post,roi,weight\n11,13,gL(R),7\n")


def test_hemibrain_and_manc_in_folders_and_archives(tmp_path: Path) -> None:
    place = tmp_path / "exported-traced-adjacencies-v1.2"
    place.mkdir()
    adjacencies(place, "traced-total-connections.csv")
    archive = tmp_path / "exported-traced-adjacencies-v1.2.tar.gz"
    with tarfile.open(archive, "w:gz") as packed_up:
        packed_up.add(place, "exported-traced-adjacencies-v1.2")
    for where in (place, archive):
        assert recognise(where) == "hemibrain"
        c = exchange.read(where)
        assert edges_of(c) == {("11", "13"): 7.0, ("12", "11"): 2.0}
        assert told(c, "type") == ["KCg", None, "MBON01"]
    manc = tmp_path / "manc-v1.0"
    manc.mkdir()
    adjacencies(manc, "traced-connections.csv")
    more = {"bodyId": [13, 99], "predictedNt": ["gaba", "unknown"], "somaLocation": [[100, 200, 300], None]}
    feather.write_feather(pd.DataFrame(more), str(manc / "manc-v1.0-neuron-properties.feather"))
    assert recognise(manc) == "manc"
    c = exchange.read(manc)
    assert c.regions["nerve_cord"].size == 3
    assert told(c, "predictedNt") == [None, None, "gaba"]
    np.testing.assert_allclose(c.regions["nerve_cord"].position_um[2], [0.8, 1.6, 2.4])


def test_malecns(tmp_path: Path) -> None:
    name = "male-cns-v1.0"
    tables = {
        f"body-annotations-{name}-minconf-0.5.feather": {
            "bodyId": [5, 6, 7], "status": ["Traced", "Traced", "Orphan"], "superclass": ["ol_sensory", None, "x"],
            "somaSide": ["L", "R", None], "somaLocation": [[1000, 0, 0], None, None],
        },
        f"connectome-weights-{name}-minconf-0.5.feather": {
            "body_pre": [5, 6, 5, 5], "body_post": [6, 5, 7, 8], "weight": [3, 2, 9, 9],
        },
        f"body-neurotransmitters-{name}.feather": {
            "body": [8, 6, 5], "consensus_nt": ["gaba", "glutamate", "unclear"], "predicted_nt": ["gaba"] * 3,
        },
        f"body-stats-{name}-minconf-0.5.feather": {"body": [5, 6], "pre": [10, 20], "synweight": [1, 2]},
    }  # fmt: skip
    columns: Any
    for file, columns in tables.items():
        feather.write_feather(pd.DataFrame(columns), str(tmp_path / file))
    assert recognise(tmp_path) == "malecns"
    c = exchange.read(tmp_path)
    assert labels_of(c, "cns") == ["5", "6"], "those that are traced"
    assert edges_of(c) == {("5", "6"): 3.0, ("6", "5"): 2.0}
    assert told(c, "consensus_nt") == ["unclear", "glutamate"]
    assert c.provenance.versions["left out"].startswith("2 of 4 edges")
    np.testing.assert_allclose(c.regions["cns"].position_um[0], [8, 0, 0])
    _, account = animate(c, preset("shiu2024"))
    assert (account.excitatory, account.inhibitory, dict(account.unknown)) == (1, 1, {"unclear": 1})


def test_microns(tmp_path: Path) -> None:
    a, b = 864691135000000001, 864691135000000002
    (tmp_path / "synapses_pni_2.csv").write_text(
        "id,pre_pt_root_id,post_pt_root_id,size,ctr_pt_position\n"
        f"1,{a},{b},100,[1 2 3]\n2,{a},{b},50,[1 2 3]\n3,{b},{a},20,[1 2 3]\n4,0,{a},9,[1 2 3]\n"
    )
    (tmp_path / "aibs_metamodel_celltypes_v661.csv").write_text(
        "id,classification_system,cell_type,pt_root_id,pt_position\n"
        f"5,excitatory_neuron,23P,{a},[100000 200000 20000]\n6,inhibitory_neuron,BC,{b},\n7,nonneuron,oligo,0,\n"
    )
    assert recognise(tmp_path) == "microns"
    c = exchange.read(tmp_path)
    assert edges_of(c) == {(str(a), str(b)): 2.0, (str(b), str(a)): 1.0}
    assert sorted(next(iter(c.edges.values())).attributes["size"].tolist()) == [20, 50, 100]
    np.testing.assert_allclose(c.regions["cortex"].position_um[0], [400, 800, 800])
    _, account = animate(c, preset("mammal"))
    assert (account.excitatory, account.inhibitory) == (2, 1)


# Matrices


def matrix_text(names: list[int], matrix: Any) -> str:
    rows = [",".join(map(str, ["", *names]))]
    rows += [",".join(map(str, [name, *row])) for name, row in zip(names, matrix, strict=True)]
    return "\n".join(rows) + "\n"


def test_larva(tmp_path: Path) -> None:
    """Of the four matrices each counts once, whatever the order of their rows; the one of all is their sum."""
    names, rng = [30, 10, 20, 40], np.random.default_rng(0)
    parts = {kind: rng.integers(0, 3, (4, 4)).astype(float) for kind in ("ad", "aa", "dd", "da")}
    inner = tmp_path / "Supplementary-Data-S1"
    inner.mkdir()
    (inner / "all-all_connectivity_matrix.csv").write_text(matrix_text(names, sum(parts.values())))
    (inner / "annotations.csv").write_text(
        "left_id,right_id,celltype,additional_annotations,level_7_cluster\n"
        "10,20,KC,gamma,5\n30,no pair,sensory,olfactory,7\n"
    )
    (inner / "inputs.csv").write_text(",axon_input,dendrite_input\n30,5,6\n20,7,8\n")
    total = {(str(names[i]), str(names[j])): w for (i, j), w in np.ndenumerate(sum(parts.values())) if w}
    assert recognise(tmp_path) == "larva"
    for _ in range(2):
        c = exchange.read(tmp_path)
        assert labels_of(c, "brain") == ["10", "20", "30", "40"]
        assert edges_of(c) == total
        assert told(c, "celltype") == ["KC", "KC", "sensory", None]
        assert told(c, "side") == ["left", "right", "left", None]
        assert told(c, "homologue") == ["20", "10", None, None]
        assert told(c, "dendrite_input") == [None, 8, 6, None]
        order = rng.permutation(4)
        for kind, matrix in parts.items():
            moved = [names[k] for k in order]
            (inner / f"{kind}_connectivity_matrix.csv").write_text(matrix_text(moved, matrix[np.ix_(order, order)]))
    (e,) = c.edges.values()
    counts = {kind: sum(e.weight[[s == kind for s in e.attributes["synapse"].tolist()]]) for kind in ("axo-dendritic",)}
    assert counts == {"axo-dendritic": parts["ad"].sum()}
    archive = tmp_path / "Supplementary-Data-S1.zip"
    with zipfile.ZipFile(archive, "w") as packed_up:
        for file in inner.iterdir():
            packed_up.write(file, f"S1/{file.name}")
    assert exchange.read(archive, "larva").digest() == c.digest()
    assert edges_of(exchange.read(inner / "all-all_connectivity_matrix.csv")) == total


def test_hcp(tmp_path: Path) -> None:
    (tmp_path / "strucMatrix_ctx_schaefer_100.csv").write_text("0,2.5,0\n2.5,0,1\n0,1,0\n")
    labels = ["7Networks_LH_Vis_1", "7Networks_LH_SomMot_1", "7Networks_RH_Vis_1"]
    (tmp_path / "strucLabels_ctx_schaefer_100.csv").write_text(",".join(labels) + "\n")
    assert recognise(tmp_path) == recognise(tmp_path / "strucMatrix_ctx_schaefer_100.csv") == "hcp"
    c = exchange.read(tmp_path)
    assert edges_of(c) == {
        (labels[0], labels[1]): 2.5, (labels[1], labels[0]): 2.5, (labels[1], labels[2]): 1.0,
        (labels[2], labels[1]): 1.0,
    }  # fmt: skip
    assert told(c, "side") == ["left", "left", "right"]
    assert told(c, "network") == ["Vis", "SomMot", "Vis"]
    (tmp_path / "strucMatrix_ctx.csv").write_text("0,1\n1,0\n")
    (tmp_path / "strucLabels_ctx.csv").write_text("L_bankssts,R_insula\n")
    with pytest.raises(ConnectomeError, match=r"must be one; found strucMatrix_ctx.csv, strucMatrix_ctx_schaefer"):
        exchange.read(tmp_path)
    assert told(exchange.read(tmp_path / "strucMatrix_ctx.csv"), "side") == ["left", "right"]


def test_allen(tmp_path: Path) -> None:
    """As pandas writes the model's tables: a row for the side, one for the target; without one structure across."""
    columns = pd.MultiIndex.from_tuples([("ipsi", "VISp"), ("ipsi", "MOp"), ("contra", "VISp")])
    frame = pd.DataFrame([[0.0, 0.5, 0.25], [0.1, 0.0, 0.0]], index=["VISp", "MOp"], columns=columns)
    for name in ("normalized_connection_density.csv", "connection_strength.csv.gz"):
        place = tmp_path / name.split(".")[0]
        place.mkdir()
        frame.to_csv(place / name)
        assert recognise(place) == "allen"
        assert edges_of(exchange.read(place / name)) == pytest.approx({
            ("VISp_L", "MOp_L"): 0.5, ("VISp_R", "MOp_R"): 0.5, ("MOp_L", "VISp_L"): 0.1, ("MOp_R", "VISp_R"): 0.1,
            ("VISp_L", "VISp_R"): 0.25, ("VISp_R", "VISp_L"): 0.25,
        })  # fmt: skip
    assert told(exchange.read(place), "structure") == ["VISp", "MOp"] * 2


# What is wrong


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        (
            "flywire",
            "a.csv",
            "pre_root_id,post_root_id,syn_count\nx,2,3\n",
            "ids that are whole numbers; found ValueError",
        ),
        ("flywire", "a.csv", "pre_root_id,post_root_id,syn_count\n1,2,many\n", "syn_count must be numbers"),
        (
            "flywire",
            "a.csv",
            "pre,post,n\n1,2,3\n",
            "one table of edges, with the columns pre_root_id.*none among a.csv",
        ),
        ("flywire", "a.csv.gz", "not packed", "one table of edges"),
        ("malecns", "a.feather", "not arrow", "one table of edges"),
        (
            "larva",
            "annotations.csv",
            "left_id,right_id\n1,2\n",
            "must be brain of the fly's larva.*found annotations.csv",
        ),
        (
            "larva",
            "all-all_connectivity_matrix.csv",
            ",1,2\n1,0,1\n3,1,0\n",
            "names must be the same in rows and columns",
        ),
        ("larva", "all-all_connectivity_matrix.csv", ",1,2\n1,0,-1\n2,1,0\n", "cells must be numbers, 0 or more"),
        ("hcp", "strucMatrix_a.csv", "0,1\n1\n", "must be a square matrix of numbers"),
        ("hcp", "strucMatrix_a.csv", "0,1,2\n1,0,2\n", "matrix must be square"),
        ("allen", "connection_density.csv", ",a,b\n,VISp,MOp\nVISp,1,2\n", "first row must say ipsi or contra"),
        ("chess", "a.csv", "", "measured connectome must be one of shiu2024, flywire,"),
    ],
)
def test_wrong_files_are_refused_in_one_line(name: str, file: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ConnectomeError, match=said) as caught:
        read(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_none_of_them_is_not_taken_for_one(tmp_path: Path) -> None:
    assert recognise(tmp_path) == ""
    (tmp_path / "x.csv").write_text("source,target\na,b\n")
    assert recognise(tmp_path) == recognise(tmp_path / "x.csv") == recognise(tmp_path / "nothing") == ""
    with pytest.raises(ConnectomeError, match="must be a folder, an archive or a file; found nothing there"):
        read("flywire", tmp_path / "nothing")
    with tarfile.open(tmp_path / "x.tar", "w") as packed_up:
        link = tarfile.TarInfo("connections.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed_up.addfile(link)
        data = b"a,b\n"
        outside = tarfile.TarInfo("../../traced.csv")
        outside.size = len(data)
        packed_up.addfile(outside, io.BytesIO(data))
    assert recognise(tmp_path / "x.tar") == ""
    assert not (tmp_path.parent / "traced.csv").exists()


def test_each_says_what_it_is_and_whom_to_cite() -> None:
    for known in MEASURED.values():
        assert known.description
        assert any(year in known.cite for year in map(str, range(2018, 2027)))
        assert bool(known.pre) != bool(known.read)


def test_files_are_fetched_by_their_doi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: what pooch is asked for."""
    asked: list[Any] = []

    def create(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(
            load_registry_from_doi=lambda: asked.append("checksums"), fetch=lambda name: str(tmp_path / name)
        )

    monkeypatch.setattr("pooch.create", create)
    found = download("flywire783", tmp_path)
    assert [f.name for f in found] == list(MEASURED["flywire783"].files)
    assert asked[0]["base_url"] == "doi:10.5281/zenodo.10676866/"
    assert asked[1] == "checksums"

    def fails(**given: Any) -> Any:
        raise ValueError("hash of downloaded file does not match")

    monkeypatch.setattr("pooch.create", fails)
    with pytest.raises(
        ConnectomeError, match=r"doi:10.5281/zenodo.10676866 must be there to be fetched; found hash of"
    ):
        download("flywire783", tmp_path)
    with pytest.raises(ConnectomeError, match="one that a repository has: flywire783; found 'larva'"):
        download("larva", tmp_path)
