"""What people read as the result: measured once, at the end, on text that nothing has looked at."""

from saint.evaluation import Losses
from saint.growth._controls import measure_arms, train_controls
from saint.growth._journal import Journal


def measure_result(journal: Journal, losses: Losses) -> None:
    """Open the vault: the standing stack and its controls against the bare base, with intervals, into the ledger."""
    if journal.state.measured or not journal.state.standing:
        return
    train_controls(journal, losses, max(journal.state.rounds, default=None), is_last=True)
    journal.progress.note("opening the vault: the result is measured once, on text that nothing has seen")
    vault = journal.data.vault
    body = {
        "split": "vault",
        "documents": {domain: corpus.digest for domain, corpus in vault.items()},
        "stack": journal.state.standing,
        "submitted": journal.submitted(),
        "grown_domain": journal.data.grown_domain,
    }
    journal.registry.write("vault_opened", body)  # first: a look that was interrupted counts as well
    journal.registry.write("measured", {**body, "arms": measure_arms(journal, losses, vault)})
