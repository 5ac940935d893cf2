"""The flags of tensorflow_model_server that change nothing here, and those that cannot be followed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final

from serving.server.flag_values import fraction, natural, truth

_TFLITE: Final = "models of TensorFlow Lite are not served here"
_NO_GPU: Final = "the embedded model server computes on the processor"

_INEFFECTIVE: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "num_load_threads": (natural, "a version that fails to load holds up no other one"),
    "num_unload_threads": (natural, "each model unloads its versions in a thread of its own"),
    "flush_filesystem_caches": (truth, "the kernel keeps or drops the files of models as it sees fit"),
    "remove_unused_fields_from_bundle_metagraph": (truth, "only the signatures of a graph are kept"),
    "enable_profiler": (truth, "there is no profiler service"),
    "per_process_gpu_memory_fraction": (fraction, _NO_GPU),
    "skip_initialize_tpu": (truth, "the embedded model server uses no TPU"),
    "prefer_tflite_model": (truth, _TFLITE),
    "num_tflite_pools": (natural, _TFLITE),
    "num_tflite_interpreters_per_pool": (natural, _TFLITE),
}
"""Flags that are checked and change nothing, each with the reader of its value and the reason."""

_REFUSED: Final[dict[str, str]] = {
    "rest_api_enable_cors_support": "put a proxy that adds the CORS headers before the REST API",
    "use_alts_credentials": "ALTS is only to be had in Google Cloud: use --ssl_config_file",
    "platform_config_file": "set the flags for the session and batching one by one",
    "tensorflow_session_config_file": "set --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism",
    "thread_pool_factory_config_file": "set --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism",
    "enable_per_model_batching_parameters": "put the settings of all models into --batching_parameters_file",
    "xla_cpu_compilation_enabled": "XLA is off here, as it is by default in TensorFlow Serving",
    "xla_gpu_compilation_enabled": _NO_GPU,
    "mixed_precision": "export the model in the precision that it is to compute in",
}
"""Flags that would change what is served, each with what to do instead. At their default values they are accepted."""

_DEFAULTS: Final = {"", "0", "false"}


class _Ineffective(argparse.Action):
    """Remember that a flag has no effect, with the reason."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse passes it
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,  # noqa: ARG002 - argparse has checked it
        option_string: str | None = None,
    ) -> None:
        namespace.ineffective = (*namespace.ineffective, f"{option_string} {self.help}")


class _Refused(argparse.Action):
    """End with an error if a flag has another value than its default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse passes it
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if str(values).lower() not in _DEFAULTS:
            parser.error(f"{option_string} {self.help}")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser. Its namespace gets `ineffective`: a sentence for each flag without effect."""
    parser.set_defaults(ineffective=())
    for name, (read, reason) in _INEFFECTIVE.items():
        what = f"has no effect here: {reason}"
        parser.add_argument(
            f"--{name}", nargs="?", const=True, type=read, action=_Ineffective, help=what, default=argparse.SUPPRESS
        )
    for name, advice in _REFUSED.items():
        what = f"cannot be followed by the embedded model server: {advice}"
        parser.add_argument(f"--{name}", nargs="?", const="true", action=_Refused, help=what, default=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=_version(), help="show the versions and exit")


def _version() -> str:
    """Return what --version shows, in the words of tensorflow_model_server."""
    try:
        library = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        library = "not installed"
    own = metadata.version("shelfline")
    return f"TensorFlow ModelServer: embedded in Shelfline {own}; TensorFlow Library: {library}"
