"""What a training computes on: a GPU, its memory, logical devices (`tf.config`), a strategy (`tf.distribute`).

All of it must be chosen before TensorFlow computes anything. The choice is also described in words.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError
from edgetf.reading import parsing


class StrategyName(str, Enum):
    MIRRORED = "mirrored"
    MULTIWORKER = "multiworker"
    TPU = "tpu"


@dataclass(frozen=True)
class Hardware:
    """`gpu` is the number of the GPU to use, from 0; -1 means none. `memory_growth` lets TensorFlow take memory as it
    needs it, `memory_limit_mb` (of each logical device) is the most. `logical_devices` is how many the GPU, or else the
    CPU, is split into.
    """

    gpu: int | None = None
    memory_growth: bool = False
    memory_limit_mb: int | None = None
    logical_devices: int | None = None
    strategy: StrategyName | None = None


def configure(hardware: Hardware) -> tuple[Any, str]:
    """The `tf.distribute.Strategy`, or None for one device, and what was chosen in a sentence.

    Raises EdgetfError for a missing device, for settings that exclude each other, and if TensorFlow has already
    computed something in this process.
    """
    if hardware.memory_growth and hardware.memory_limit_mb is not None:
        raise EdgetfError("memory that grows has no limit", "give --memory-growth or --memory-limit, not both")
    if hardware.memory_growth and hardware.logical_devices is not None:
        raise EdgetfError("logical devices share memory that is limited", "leave --memory-growth out")
    if hardware.logical_devices is not None and hardware.logical_devices < 1:
        raise EdgetfError(f"there cannot be {hardware.logical_devices} logical devices", "give at least 1")
    tf = load_tensorflow()
    try:
        words = _choose(tf, hardware)
        strategy, more = _strategy(tf, hardware.strategy)
    except RuntimeError as error:
        reason = f"TensorFlow takes no more settings: {error}"
        raise EdgetfError(reason, "choose the hardware in a process of its own, as edgetf models train does") from error
    return strategy, ", ".join(words + more)


def leads() -> bool:
    """Whether this process is the only one, or of several the one that writes: the chief, or else the first worker."""
    config = _tf_config()
    task = config["task"]
    if config["cluster"].get("chief"):
        return bool(task.get("type") == "chief")
    return bool(task.get("index", 0) == 0)


def _tf_config() -> dict[str, dict[str, Any]]:
    """`cluster` and `task` of TF_CONFIG. Raises EdgetfError for anything but what TensorFlow takes."""
    with parsing("TF_CONFIG", "a JSON object with a cluster and a task", "correct it, or unset it"):
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        return {name: dict(config.get(name) or {}) for name in ("cluster", "task")}


def _choose(tf: Any, hardware: Hardware) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    if hardware.gpu is not None and hardware.gpu >= len(gpus):
        raise EdgetfError(f"there is no GPU {hardware.gpu}: TensorFlow sees {len(gpus)}", "leave --gpu out for the CPU")
    if hardware.gpu is not None:
        gpus = gpus[hardware.gpu : hardware.gpu + 1] if hardware.gpu >= 0 else []
        tf.config.set_visible_devices(gpus, "GPU")
    if not gpus:
        if hardware.memory_growth or hardware.memory_limit_mb is not None:
            raise EdgetfError("only a GPU's memory can be limited, and there is none", "leave the option out")
        return ["on the CPU", *_split(tf, tf.config.list_physical_devices("CPU")[0], hardware)]
    if hardware.logical_devices is not None and hardware.memory_limit_mb is None:
        raise EdgetfError("a GPU is split by memory, and no limit is given", "give --memory-limit MB too")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    words = [f"on {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({', '.join(names)})"]
    for gpu in gpus:
        if hardware.memory_growth:
            tf.config.experimental.set_memory_growth(gpu, True)
        split = _split(tf, gpu, hardware)
    return [*words, *(["memory as it is needed"] if hardware.memory_growth else []), *split]


def _split(tf: Any, device: Any, hardware: Hardware) -> list[str]:
    count, limit = hardware.logical_devices, hardware.memory_limit_mb
    if count is None and limit is None:
        return []
    one = tf.config.LogicalDeviceConfiguration(**({} if limit is None else {"memory_limit": limit}))
    tf.config.set_logical_device_configuration(device, [one] * (count or 1))
    words = [f"split into {count} logical devices"] if count else []
    return words if limit is None else [*words, f"{limit:,} MB each"]


def _strategy(tf: Any, name: StrategyName | None) -> tuple[Any, list[str]]:
    if name is None:
        return None, []
    if name is StrategyName.MIRRORED:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    elif name is StrategyName.MULTIWORKER:
        if not _tf_config()["cluster"].get("worker"):
            hint = 'TF_CONFIG=\'{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}\''
            raise EdgetfError("TF_CONFIG does not name the workers", f"set it on each machine, such as {hint}")
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = _tpu_strategy(tf)
    return strategy, [f"{name.value} strategy with {strategy.num_replicas_in_sync} devices"]


def _tpu_strategy(tf: Any) -> Any:
    """As tensorflow.org/guide/tpu has it; TPU_NAME or the machine itself gives its address."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError) as error:
        reason = f"there is no TPU: {str(error).splitlines()[0][:200]}"
        raise EdgetfError(
            reason, "run it on a machine with a TPU, and set TPU_NAME where it is a remote one"
        ) from error
