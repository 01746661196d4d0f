from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._documents import DOCUMENTS, export_document
from saint.cli._opening import open_base, open_registry
from saint.cli._terminal import json_option, quieten, registry_argument, say_json

if TYPE_CHECKING:
    from saint.grafts import Graft
    from saint.models import FrozenBase
    from saint.registry import Composition, Registry


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
@click.option(
    "--composition", help="What is exported, by its name; what stands if left out. `saint compositions` lists."
)
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def export(
    registry: str,
    form: str | None,
    output_dir: str | None,
    document: str | None,
    output: str | None,
    digests: tuple[str, ...],
    composition: str | None,
    base_name: str | None,
    *,
    as_json: bool,
) -> None:
    """Write REGISTRY's stack in a format that other software loads, or what its ledger says as a standard document.

    Other software needs nothing of ours for it, but for saint-peft. With --as nothing is loaded: it speaks of what
    stands, and takes neither --graft, --composition nor --base. Exit status 3 if a document was written that could not
    be held against its schema.
    """
    if (document is None) == (form is None):
        raise click.UsageError("give either --format and --output-dir, or --as and --output")
    if document is not None:
        if output is None or any(one for one in (output_dir, digests, composition, base_name)):
            raise click.UsageError("--as takes --output, and none of --output-dir, --graft, --composition and --base")
        _say_document(export_document(open_registry(registry), document, Path(output)), as_json=as_json)
        return
    if output_dir is None or output is not None or (digests and composition is not None):
        raise click.UsageError("--format takes --output-dir, --graft or --composition but not both, and not --output")
    assert form is not None
    quieten()
    opened = open_registry(registry)
    record = export_stack(
        opened, open_base(opened, base_name), form, Path(output_dir), digests, composition=composition
    )
    if as_json:
        say_json(record)
        return
    difference = record["max_abs_logit_difference"]
    click.echo(f"{output_dir}: {len(record['grafts'])} grafts as {form}")
    if not record["validated"]:
        click.echo("unvalidated: no decision accepted just these grafts together, in this order and at full scale")
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
    registry: "Registry",
    base: "FrozenBase",
    form: str,
    folder: Path,
    digests: Sequence[str] = (),
    *,
    composition: str | None = None,
) -> dict[str, Any]:
    """Export a composition, else the standing grafts whose digests start with one of `digests`, else all that stand.

    What came out is measured.
    """
    from saint.composition import export_lora, export_peft, exported_difference, restore_one
    from saint.errors import ExportError
    from saint.registry import STANDING

    if folder.exists():  # found out before the work rather than after it
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    found = (
        _some_that_stand(registry, digests) if digests else registry.composition(composition or STANDING).must_stand()
    )
    if not found.grafts:
        raise ExportError(
            f"{found.name} has no grafts, so there is nothing to export; `saint status` lists what stands"
        )
    stack = [restore_one(registry, one.graft, scale=one.scale) for one in found.grafts]
    record: dict[str, Any] = {
        "format": form,
        "grafts": [one.graft for one in found.grafts],
        "scales": [one.scale for one in found.grafts],
        "composition": found.digest,
        "validated": found.is_validated,
        "folder": str(folder),
    }
    if form == "merged":
        return record | _export_merged(registry, base, stack, record)
    if form == "saint-peft":
        return record | _export_graft(base, stack, folder)
    {"lora": export_lora, "peft": export_peft}[form](base, stack, folder)
    return record | {"max_abs_logit_difference": exported_difference(base, stack, folder)}


def _some_that_stand(registry: "Registry", digests: Sequence[str]) -> "Composition":
    """The grafts whose digests start so, in the order in which they stand."""
    from saint.errors import ExportError
    from saint.registry import STANDING, composition_of

    standing = registry.composition(STANDING).grafts
    named = {registry.entry(digest).digest for digest in digests}
    if gone := named - {one.graft for one in standing}:
        raise ExportError(
            f"graft {min(gone)[:12]} does not stand, so it is not exported; `saint status` lists what does"
        )
    return composition_of(registry.state, [one for one in standing if one.graft in named])


def _export_graft(base: "FrozenBase", stack: list["Graft"], folder: Path) -> dict[str, Any]:
    """Write one graft as an adapter and read it back."""
    from saint.adapters import export_graft, read_adapter, to_graft
    from saint.composition import compose, probe_logits

    export_graft(base, stack, folder)
    again = to_graft(base, read_adapter(folder))
    difference = (probe_logits(compose(base, [again])) - probe_logits(compose(base, stack))).abs().max()
    return {"max_abs_logit_difference": float(difference)}


def _export_merged(
    registry: "Registry", base: "FrozenBase", stack: list["Graft"], record: dict[str, Any]
) -> dict[str, Any]:
    """Write the merged base, read it back, and record the new base in the ledger."""
    from saint.composition import compose, probe_logits
    from saint.consolidation import merge
    from saint.folders import write_folder
    from saint.models import freeze

    folder, merged = Path(record["folder"]), merge(base, stack)

    def write(partial: Path) -> None:
        merged.model.save_pretrained(partial)
        if base.tokenizer is not None:
            base.tokenizer.save_pretrained(partial)

    write_folder(folder, write)
    reloaded = freeze(folder)
    difference = float((probe_logits(reloaded.model) - probe_logits(compose(base, stack))).abs().max())
    measured = {"base": reloaded.digest, "max_abs_logit_difference": difference}
    merged_from = {key: record[key] for key in ("grafts", "scales", "composition")}
    registry.write("consolidated", {**merged_from, "way": "merge", **measured})
    return measured
