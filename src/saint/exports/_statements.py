from typing import Any

from saint import records
from saint.exports._facts import Facts
from saint.statements import composition_provenance, decision, provenance, test_result


def statements(facts: Facts) -> list[dict[str, Any]]:
    """Provenance of the composition, then provenance, test result and decision of each graft that stands.

    Raises:
        StatementError: The ledger holds something that cannot be said so.
    """
    made = [composition_provenance(facts.state)]
    for entry in facts.standing:
        made += [say(entry, facts.state) for say in (provenance, test_result, decision)]
    return made


def statements_text(facts: Facts) -> str:
    """The same as JSON Lines, each in its canonical spelling: what is to be signed is a line without its end."""
    return "".join(f"{records.to_canonical(one)}\n" for one in statements(facts))
