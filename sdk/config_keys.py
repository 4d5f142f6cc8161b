"""The keys of wrangler files: which are read, which make no difference here, and which ask for what there is not.

What always holds: a key that changes what a program does is read or refused; the rest is accepted; one that nobody knows is
named in a warning.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ..engine.errors import ConfigError

SECTIONS = ("kv_namespaces", "d1_databases", "r2_buckets", "queues", "ratelimits", "ai", "unsafe")
"""What the package of the bindings reads."""
READ = (
    *(
        "$schema",
        "name",
        "main",
        "compatibility_date",
        "compatibility_flags",
        "durable_objects",
        "migrations",
        "exports",
    ),
    *("vars", "env", "triggers", "limits", "services", "assets", "version_metadata", *SECTIONS),
)
IGNORED = (
    *("observability", "logpush", "placement", "routes", "route", "workers_dev", "preview_urls", "build", "rules"),
    *("python_modules", "base_dir", "account_id", "send_metrics", "keep_vars", "minify", "dev", "upload_source_maps"),
    *("tail_consumers", "streaming_tail_consumers", "no_bundle", "find_additional_modules", "preserve_file_names"),
    *("tsconfig", "jsx_factory", "jsx_fragment", "alias", "define", "first_party_worker", "logfwdr", "secrets"),
    *("compliance_region", "keep_names", "pages_build_output_dir", "previews"),
)
"""Accepted: they speak of deployment, of JavaScript, or of accounts."""
NOT_INHERITED = (*("durable_objects", "vars", "services", "version_metadata", "tail_consumers", "define", *SECTIONS),)
"""And what is not here at all."""
_ALARMS = "objects with alarms and storage do this: see examples/jobs"
_PACKAGE = "call it over HTTP, or use its Python package in the program"
ABSENT: Mapping[str, str] = {
    "workflows": f"there are no Workflows; {_ALARMS}",
    "vectorize": "there is no Vectorize; keep vectors in an object's SQL, or use the package of a vector store",
    "analytics_engine_datasets": "there is no Analytics Engine; write rows into an object's SQL, or log them",
    "hyperdrive": "there is no Hyperdrive; connect to the database with its Python driver, its address in `vars`",
    "images": f"there is no Images binding; {_PACKAGE}",
    "media": f"there is no Media binding; {_PACKAGE}",
    "stream": f"there is no Stream binding; {_PACKAGE}",
    "browser": f"there is no Browser Rendering; {_PACKAGE}",
    "mtls_certificates": "there are no mTLS bindings; give the client certificate to the HTTP client of the program",
    "worker_loaders": "there are no dynamic Workers; serve the programs beside each other: `perdure run A B`",
    "dispatch_namespaces": "there is no dispatch to programs of others; serve them beside it and name them in `services`",
    "containers": "there are no containers; run them beside perdure and call them over HTTP",
    "cloudchamber": "there are no containers; run them beside perdure and call them over HTTP",
    "send_email": "there is no binding for e-mail; use smtplib, or the HTTP interface of a mail service",
    "pipelines": "there are no Pipelines; use a queue, or write to an object",
    "secrets_store_secrets": "there is no Secrets Store; put secrets into .dev.vars, or into the environment",
    "vpc_services": "there are no VPC services; name their addresses in `vars` and call them over HTTP",
    "vpc_networks": "there are no VPC networks; name their addresses in `vars` and call them over HTTP",
    "unsafe_hello_world": "there is no such binding",
    "site": "there are no Workers Sites; use `assets`",
    "wasm_modules": "there is no WebAssembly of the Worker's; use a Python package that runs it",
    "text_blobs": "read the file in the program: it lies in the folder of `main`",
    "data_blobs": "read the file in the program: it lies in the folder of `main`",
}
"""Keys of products that do not exist here, and what to use instead."""


def check_keys(path: str, found: Mapping[str, object]) -> list[str]:
    """Warnings, one for each unknown key. Raises ConfigError for one that asks for what there is not."""
    warnings: list[str] = []
    for key, value in found.items():
        if key in ABSENT:
            if value:
                raise ConfigError(f"{path}: '{key}' cannot be served by perdure", hint=ABSENT[key])
        elif key not in READ and key not in IGNORED:
            near = difflib.get_close_matches(key, READ, 1)
            warnings.append(f"{path}: unknown key '{key}' is ignored{f'; did you mean {near[0]}?' if near else ''}")
    return warnings


def overlay(
    path: str, found: Mapping[str, object], chosen: Mapping[str, object], env_name: str, warnings: list[str]
) -> dict[str, object]:
    """The configuration of a named environment: what it says itself, and of the rest what is inherited."""
    merged = {key: value for key, value in found.items() if key != "env"}
    for key in (*NOT_INHERITED, *ABSENT):
        if key in merged and key not in chosen:
            warnings.append(f"{path}: env.{env_name} does not repeat '{key}', so it has none")
        merged.pop(key, None)
    merged["name"] = f"{found.get('name', '')}-{env_name}"
    return {**merged, **chosen}
