"""Changing by what decisions are made, held against the text that they are made from."""

from saint.judging._policy import Policy
from saint.judging._power import SafetySort, must_suffice
from saint.registry import Registry, State


def set_policy(registry: Registry, policy: Policy, *, reason: str = "") -> None:
    """Write down by what decisions are made from now on; nothing is written where that is so already.

    Raises:
        UnknownNameError: A gate has a limit for a suite that the registry has no text of.
        DataError: The registry's sealed text is too small for the policy.
    """
    state = registry.state
    if state.policy.get("digest") == policy.digest:
        return
    _must_fit(policy, state)
    registry.write("policy_set", {"policy": policy, "digest": policy.digest, "reason": reason})


def _must_fit(policy: Policy, state: State) -> None:
    """Hold a policy against the text in the registry's first entry; one that was made without text takes any policy."""
    if state.sealed_text:
        sorts: dict[str, SafetySort] = {suite: one["sort"] for suite, one in state.sealed_items.items()}
        must_suffice(policy, state.sealed_sizes, grown=state.grown_domain, sorts=sorts)
