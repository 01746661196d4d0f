"""What the forms of phi hold while they work."""

import pytest
import torch

from saint.errors import ConfigError
from saint.grafts._forms import Dense, Diagonal, Upper, _places as places_of
from saint.grafts._least_squares import follow_gradient


def test_the_places_of_a_form_are_made_once_and_learn_after_an_inference() -> None:
    form = Upper(num_terms=2, rank=5)
    phi = torch.ones(2, 15, requires_grad=True)
    with torch.inference_mode():
        full = form.matrices({"phi": phi})
    assert torch.equal(full, torch.ones(2, 5, 5).triu())
    form.matrices({"phi": phi}).sum().backward()
    assert phi.grad is not None
    assert places_of(form, phi.device) is places_of(Upper(num_terms=2, rank=5), phi.device)
    assert places_of(Diagonal(num_terms=2, rank=5), phi.device) is not places_of(form, phi.device)


def test_least_squares_of_terms_with_a_weight_between_is_bounded_by_what_it_holds() -> None:
    """64^4 numbers are held at most; 5 terms of rank 16 have 1,280 numbers and would hold 80^4."""
    side = torch.zeros(80, 80)
    with pytest.raises(ConfigError, match=r"up to 4,096 numbers at a site at once, got 6,400, the terms crosswise"):
        follow_gradient(Dense(num_terms=5, rank=16), side, side, side, side, times=side)
