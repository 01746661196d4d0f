from collections.abc import Callable
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

_MOST_APART = 1 << 26
"""Numbers of per-sequence gradients that are held at once: 256 MiB in float32."""
_TOKENS_PER_DIMENSION = 4
_LEAST_SAMPLE = 1024
"""A second moment is taken over so many tokens of all batches, or over those per dimension if that is more."""


@final
class Seen:
    """What one site saw in one batch, in one piece however often the model called it.

    What several maps need is worked out once and kept until the batch is over. Where an encoder-decoder calls a site
    twice, the calls follow each other along the token axis; sequences stay apart.
    """

    def __init__(
        self,
        *,
        x: Float[Tensor, "batch tokens d_in"],
        y: Float[Tensor, "batch tokens d_out"],
        gradient: Float[Tensor, "batch tokens d_out"] | None = None,
        read_weight: Callable[[], Float[Tensor, "d_out d_in"] | None] = lambda: None,
        keep_apart: bool = False,
        num_batches: int = 1,
    ) -> None:
        """Nothing is computed before it is asked for.

        Args:
            x: The site's input; at a block site or insertion point the residual stream itself.
            y: Its output, with the grafts that stand there.
            gradient: Of the batch's mean token loss with respect to y; None if no map needs it.
            read_weight: Gives the frozen weight; None at a site that is no linear map.
            keep_apart: Whether some map looks at the sequences one by one, so that the weight's gradient is best had
                as the sum of theirs.
            num_batches: How many batches there will be: second moments are spread over all of them.
        """
        self.x, self.y = x, y
        self._num_batches = num_batches
        self._gradient, self._read_weight, self._keep_apart = gradient, read_weight, keep_apart

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, and of all calls."""
        return self.x.shape[0] * self.x.shape[1]

    @property
    def gradient(self) -> Float[Tensor, "batch tokens d_out"]:
        """Of the batch's mean token loss with respect to y; only for maps that say they need it."""
        assert self._gradient is not None, "a map that reads the gradient must set needs_gradient"
        return self._gradient

    def read_weight(self) -> Float[Tensor, "d_out d_in"] | None:
        """The frozen weight, in float32 or wider; None at a block, an insertion point or an mlp."""
        return self._weight

    @cached_property
    def _weight(self) -> Tensor | None:
        weight = self._read_weight()
        return None if weight is None else weight.detach().to(self.x.dtype)

    @cached_property
    def gate_gradient(self) -> Float[Tensor, "batch tokens d_out"]:
        """The gradient of the batch's mean loss with respect to a factor on each value of y: y * g."""
        return self.y * self.gradient

    @cached_property
    def weight_gradient(self) -> Float[Tensor, "d_out d_in"]:
        """G = sum_t g_t x_t^T: the gradient of the weight, or of a linear map that were added here."""
        if self._keep_apart and self._fits_apart:
            return self.sequence_gradients.sum(0)
        return self.gradient.flatten(0, 1).T @ self.x.flatten(0, 1)

    @cached_property
    def sequence_gradients(self) -> Float[Tensor, "batch d_out d_in"]:
        """The part of each sequence in G; as large as the batch has sequences times the weight."""
        return self.gradient.transpose(1, 2) @ self.x

    @cached_property
    def squared_sequence_norms(self) -> Float[Tensor, " batch"]:
        """The squared Frobenius norm of each sequence's part in G.

        Where the parts are too large to be held, by |sum_t g_t x_t^T|^2 = sum_tu (g_t . g_u) (x_t . x_u) (Goodfellow
        2015, arXiv:1510.01799, who has one token to a sequence).
        """
        if self._fits_apart:
            norms: Tensor = torch.linalg.vector_norm(self.sequence_gradients, dim=(1, 2))  # makes no copy of them
            return norms.square()
        g, x = self.gradient, self.x
        return ((g @ g.transpose(1, 2)) * (x @ x.transpose(1, 2))).sum((1, 2))

    @cached_property
    def input_moment(self) -> Float[Tensor, "d_in d_in"]:
        """The mean of x x^T over the tokens, or over evenly spread ones where there are many to each dimension.

        So it costs no more however long the text is, and at a wide side less than the weight's gradient.
        """
        return self._second_moment(self.x.flatten(0, 1))

    @cached_property
    def gradient_moment(self) -> Float[Tensor, "d_out d_out"]:
        """The mean of g g^T likewise, with g the gradient of a token's own loss (mean loss times number of tokens)."""
        return self._second_moment(self.gradient.flatten(0, 1), scale=float(self.num_tokens))

    def _second_moment(self, rows: Float[Tensor, "tokens d"], *, scale: float = 1.0) -> Float[Tensor, "d d"]:
        wanted = max(_LEAST_SAMPLE, _TOKENS_PER_DIMENSION * rows.shape[1])
        step = len(rows) * self._num_batches // wanted
        sample = rows[:: max(step - 1, 0) | 1]  # an odd step does not pick the same positions of every window
        moment: Tensor = (sample.T @ sample).mul_(scale**2 / len(sample))
        return moment

    @property
    def _fits_apart(self) -> bool:
        return self.x.shape[0] * self.x.shape[2] * self.y.shape[2] <= _MOST_APART
