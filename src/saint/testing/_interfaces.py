import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saint import discovery
from saint.backbones import LayeredConfig, layered_model
from saint.interfaces import FrozenTable, Interface, Made, Sources, describe, open_interface

_VOCAB, _WIDTH = 50, 36
_TOKENS = tuple(chr(ord("A") + number % 25) * (1 + number // 25) + "s" * (number // 25) for number in range(_VOCAB))


def write_font(path: Path, characters: Iterable[str]) -> Path:
    """Write a made-up font in Unifont's format, in which every character looks different and none is blank."""
    lines = [f"{ord(one):04X}:{hashlib.sha256(one.encode()).hexdigest().upper()}" for one in sorted(set(characters))]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


class InterfaceSuite:
    """What every token interface must keep: subclass it and set `interface`."""

    interface: str
    num_tokens: int = _VOCAB
    d_model: int = _WIDTH

    def options(self) -> Mapping[str, Any]:
        """What is chosen other than by default."""
        return {}

    def plan(self) -> Interface:
        """The interface for a few tokens and a narrow model."""
        return open_interface(self.interface, vocab_size=self.num_tokens, d_model=self.d_model, options=self.options())

    def make(self) -> Made:
        """Its table, from short words and a made-up font."""
        with tempfile.TemporaryDirectory() as folder:
            font = write_font(Path(folder) / "made-up.hex", "".join(_TOKENS))
            return self.plan().make(Sources(tokens=_TOKENS, font=font))

    def table(self) -> FrozenTable:
        """Its table as a module."""
        table = FrozenTable(self.plan())
        table.fill(self.make())
        return table

    def test_equal_options_make_equal_tables(self) -> None:
        one, other = self.table(), self.table()
        assert torch.equal(one.code, other.code)
        assert one.digest() == other.digest()

    def test_the_table_is_as_planned(self) -> None:
        plan, made = self.plan(), self.make()
        assert made.code.shape == (self.num_tokens, plan.layout.num_columns)
        assert torch.from_numpy(made.code).dtype == plan.layout.dtype
        assert not plan.layout.dtype.is_floating_point
        assert plan.layout.num_columns <= self.d_model

    def test_every_token_has_a_row_of_its_own(self) -> None:
        lifted = self.table().lifted()
        assert len(lifted.unique(dim=0)) == self.num_tokens
        assert describe(self.table()).is_injective

    def test_rows_are_columns_copied_to_the_width(self) -> None:
        table, num_columns = self.table(), self.plan().layout.num_columns
        columns = [place * num_columns // self.d_model for place in range(self.d_model)]
        ids = torch.tensor([[3, 0], [self.num_tokens - 1, 3]])
        torch.testing.assert_close(table(ids), table.values()[ids][..., columns].float(), rtol=1e-6, atol=0.0)
        assert torch.equal(table.lifted()[ids], table(ids))

    def test_projecting_is_the_product_with_the_lifted_table(self) -> None:
        table = self.table()
        hidden = torch.randn(2, 3, self.d_model, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(table.project(hidden), hidden @ table.lifted().T, rtol=1e-4, atol=1e-4)

    def test_no_conversion_of_a_model_changes_it(self) -> None:
        table = self.table()
        before = table.digest()
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            assert nn.ModuleList([table]).to(dtype)[0].digest() == before  # type: ignore[operator]
            assert table(torch.tensor([1]), dtype).dtype == dtype

    def test_another_number_is_another_digest(self) -> None:
        table = self.table()
        before = table.digest()
        table.code[-1, -1] += 1
        assert table.digest() != before

    def test_what_is_said_of_it_is_so(self) -> None:
        table = self.table()
        said, lifted = describe(table), table.lifted().double()
        assert said.rank == torch.linalg.matrix_rank(lifted)
        norms = lifted.norm(dim=1)
        found = torch.tensor([said.norm_min, said.norm_mean, said.norm_max], dtype=torch.float64)
        torch.testing.assert_close(found, torch.stack([norms.min(), norms.mean(), norms.max()]), rtol=1e-5, atol=1e-6)
        planned = self.plan().row_norm
        assert float(norms.square().mean().sqrt()) == pytest.approx(planned, rel=0.2)

    def test_a_model_above_it_learns_and_a_frozen_table_does_not(self) -> None:
        chosen: dict[str, Any] = {"vocab_size": self.num_tokens, "hidden_size": self.d_model, "num_hidden_layers": 1}
        chosen |= {"interface": self.interface, "interface_options": dict(self.options())}
        config = LayeredConfig(**chosen, num_attention_heads=2, max_position_embeddings=16)
        with tempfile.TemporaryDirectory() as folder:
            font = write_font(Path(folder) / "made-up.hex", "".join(_TOKENS))
            model = layered_model(config, Sources(tokens=_TOKENS, font=font))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        ids = torch.arange(12).view(2, 6)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        unmoved = [name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])]
        assert unmoved == ([] if self.plan().is_trainable else ["model.embed_tokens.code"])
        model.check_interface()

    def test_it_says_where_the_idea_is_from(self) -> None:
        kind = discovery.find("interfaces", self.interface, Interface)
        assert kind.reference
        assert kind.__doc__
