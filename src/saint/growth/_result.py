"""What people read as the result: measured once, at the end, on text that nothing has looked at."""

from saint.evaluation import Losses
from saint.growth._controls import measure_arms
from saint.growth._journal import Journal


def measure_result(journal: Journal, losses: Losses) -> None:
    """Open the vault: the standing stack and its controls against the bare base, with intervals, into the ledger."""
    if journal.state.measured or not journal.state.standing:
        return
    journal.progress.note("opening the vault: the result is measured once, on text that nothing has seen")
    vault = journal.data.vault
    arms = measure_arms(journal, losses, vault)
    body = {
        "split": "vault",
        "documents": {domain: corpus.digest for domain, corpus in vault.items()},
        "stack": journal.state.standing,
        "grown_domain": journal.data.grown_domain,
        "arms": arms,
    }
    journal.registry.write("measured", body)
