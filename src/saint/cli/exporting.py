from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._documents import DOCUMENTS, export_document
from saint.cli._opening import open_base, open_registry
from saint.cli._terminal import json_option, quieten, registry_argument, say_json

if TYPE_CHECKING:
    from saint.grafts import Graft
    from saint.models import FrozenBase
    from saint.registry import Entry, Registry, State


@click.command()
@registry_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["lora", "peft", "merged", "saint-peft"]),
    help="lora: one LoRA of a single rank; peft: one with a rank per module; merged: a plain model folder; "
    "saint-peft: one graft as an adapter that peft loads with saint.peft.",
)
@click.option("--output-dir", type=click.Path(), help="A new folder, for --format.")
@click.option(
    "--as",
    "document",
    type=click.Choice(DOCUMENTS),
    help="Instead of the model, a document from the ledger: slsa: in-toto statements, one a line; ml-bom: CycloneDX "
    "1.6; model-card: for the Hugging Face Hub; annex-iv: what the EU AI Act asks, beside what is recorded.",
)
@click.option("--output", type=click.Path(), help="The file for --as; annex-iv is JSON if it ends in .json.")
@click.option("--graft", "digests", multiple=True, help="Only these grafts, by the start of their digests.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def export(
    registry: str,
    form: str | None,
    output_dir: str | None,
    document: str | None,
    output: str | None,
    digests: tuple[str, ...],
    base_name: str | None,
    *,
    as_json: bool,
) -> None:
    """Write REGISTRY's stack in a format that other software loads, or what its ledger says as a standard document.

    Other software needs nothing of ours for it, but for saint-peft. With --as nothing is loaded: it takes neither
    --graft nor --base. Exit status 3 if a document was written that could not be held against its schema.
    """
    if (document is None) == (form is None):
        raise click.UsageError("give either --format and --output-dir, or --as and --output")
    if document is not None:
        if output is None or output_dir is not None or digests or base_name is not None:
            raise click.UsageError("--as takes --output, and none of --output-dir, --graft and --base")
        _say_document(export_document(open_registry(registry), document, Path(output)), as_json=as_json)
        return
    if output_dir is None or output is not None:
        raise click.UsageError("--format takes --output-dir, and not --output")
    assert form is not None
    quieten()
    opened = open_registry(registry)
    record = export_stack(opened, open_base(opened, base_name), form, Path(output_dir), digests)
    if as_json:
        say_json(record)
        return
    difference = record["max_abs_logit_difference"]
    click.echo(f"{output_dir}: {len(record['grafts'])} grafts as {form}")
    if unvalidated := record["unvalidated"]:
        click.echo(f"unvalidated, since something below was rolled back: {', '.join(one[:12] for one in unvalidated)}")
    click.echo(f"max |logit difference| to the composed model: {difference:.3g}")


def _say_document(record: dict[str, Any], *, as_json: bool) -> None:
    unchecked = record["schema_checked"] is False
    if as_json:
        say_json(record)
    else:
        click.echo(f"{record['file']}: {record['as']} of composition {record['composition'][:12]}")
        if record["schema_checked"]:
            click.echo("keeps to its schema")
        for fact in record["not_recorded"]:
            click.echo(f"not recorded: {fact}")
    if unchecked:
        click.echo("could not check it against its schema: install saint-g[exports]", err=True)
        click.get_current_context().exit(3)


def export_stack(
    registry: "Registry", base: "FrozenBase", form: str, folder: Path, digests: Sequence[str] = ()
) -> dict[str, Any]:
    """Export the standing grafts, or those whose digests start with one of `digests`, and measure what came out.

    The ledger then has which grafts went into what, and how far what came out is from them.

    Raises:
        ExportError: A graft does not stand, or is in quarantine; or the format cannot say what a graft is.
    """
    from saint.composition import restore_one
    from saint.errors import ExportError

    if folder.exists():  # found out before the work rather than after it
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    wanted = _inputs(registry, digests)
    stack = [restore_one(registry, entry.digest) for entry in wanted]
    ways: dict[str, Callable[..., dict[str, Any]]] = {"merged": _export_merged, "saint-peft": _export_graft}
    export = ways.get(form, partial(_export_adapter, form))
    grafts = [entry.digest for entry in wanted]
    told = {"grafts": grafts, "unvalidated": [entry.digest for entry in wanted if entry.unvalidated]}
    found = export(base, stack, folder)

    def body(state: "State") -> dict[str, Any]:
        if gone := [digest for digest in grafts if digest not in state.standing]:
            raise ExportError(
                f"graft {gone[0][:12]} was rolled back while it was exported; delete {folder}, which has it in it, and "
                "export again"
            )
        return {**told, "way": "merge" if form == "merged" else form, **found}

    registry.append("consolidated" if form == "merged" else "exported", body)
    return {"format": form, "folder": str(folder), **told, **found}


def _inputs(registry: "Registry", digests: Sequence[str]) -> list["Entry"]:
    """The grafts to be exported: all that stand, or those that are named."""
    from saint.errors import ExportError

    standing, quarantined = registry.accepted(), registry.state.quarantined
    named = {registry.entry(digest).digest for digest in digests}
    if gone := named - {entry.digest for entry in standing}:
        raise ExportError(
            f"graft {min(gone)[:12]} does not stand, so it is not exported; `saint status` lists what does"
        )
    wanted = [entry for entry in standing if entry.digest in named or not named]
    if not wanted:
        raise ExportError("no graft stands, so there is nothing to export; grow the registry first")
    if bad := [entry.digest for entry in wanted if entry.digest in quarantined]:  # of a watch that was killed
        raise ExportError(
            f"graft {bad[0][:12]} is in quarantine ({quarantined[bad[0]]}), so it is not exported; roll it back first"
        )
    return wanted


def _export_adapter(form: str, base: "FrozenBase", stack: list["Graft"], folder: Path) -> dict[str, Any]:
    """Write one LoRA for the whole stack, and measure what it says."""
    from saint.composition import export_lora, export_peft, exported_difference

    {"lora": export_lora, "peft": export_peft}[form](base, stack, folder)
    return {"weights": _weights(folder), "max_abs_logit_difference": exported_difference(base, stack, folder)}


def _weights(folder: Path) -> str:
    """By which an adapter is known again that somebody submits."""
    from saint import records
    from saint.adapters import WEIGHTS_NAME

    return records.file_digest(folder / WEIGHTS_NAME)


def _export_graft(base: "FrozenBase", stack: list["Graft"], folder: Path) -> dict[str, Any]:
    """Write one graft as an adapter and read it back."""
    from saint.adapters import export_graft, read_adapter, to_graft
    from saint.composition import compose, probe_logits

    export_graft(base, stack, folder)
    again = to_graft(base, read_adapter(folder))
    difference = (probe_logits(compose(base, [again])) - probe_logits(compose(base, stack))).abs().max()
    return {"weights": _weights(folder), "max_abs_logit_difference": float(difference)}


def _export_merged(base: "FrozenBase", stack: list["Graft"], folder: Path) -> dict[str, Any]:
    """Write the merged base and read it back."""
    from saint.composition import compose, probe_logits
    from saint.consolidation import merge
    from saint.folders import write_folder
    from saint.models import freeze

    merged = merge(base, stack)

    def write(partial: Path) -> None:
        merged.model.save_pretrained(partial)
        if base.tokenizer is not None:
            base.tokenizer.save_pretrained(partial)

    write_folder(folder, write)
    reloaded = freeze(folder)
    difference = float((probe_logits(reloaded.model) - probe_logits(compose(base, stack))).abs().max())
    return {"base": reloaded.digest, "max_abs_logit_difference": difference}
