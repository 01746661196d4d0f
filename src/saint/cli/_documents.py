"""What `saint export --as` writes."""

import hashlib
import os
from pathlib import Path
from typing import Any

from saint.errors import ExportError
from saint.registry import Registry

DOCUMENTS = ("slsa", "ml-bom", "model-card", "annex-iv")


def export_document(registry: Registry, sort: str, file: Path) -> dict[str, Any]:
    """Write one document; returns what a program wants to know of it.

    `schema_checked` is None for documents that have no published schema.
    """
    from saint.exports import (
        annex_iv_markdown,
        annex_iv_text,
        check_ml_bom,
        gather,
        ml_bom_text,
        model_card,
        not_recorded,
        statements_text,
    )
    from saint.report import write_whole

    if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
        raise ExportError(f"{file} is there and is no ordinary file; give the path of a file with --output")
    facts, checked = gather(registry), None
    annex_iv = annex_iv_text if file.suffix == ".json" else annex_iv_markdown
    write = {"slsa": statements_text, "ml-bom": ml_bom_text, "model-card": model_card, "annex-iv": annex_iv}[sort]
    text = write(facts)
    if sort == "ml-bom":
        checked = check_ml_bom(text)
    write_whole(file, text)
    return {
        "as": sort,
        "file": str(file),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "composition": facts.composition,
        "head": facts.head,
        "schema_checked": checked,
        "not_recorded": list(not_recorded(facts)),
    }
