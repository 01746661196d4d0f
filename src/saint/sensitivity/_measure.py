from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from saint import discovery
from saint.composition import compose
from saint.data import Corpus
from saint.grafts import Graft
from saint.models import FrozenBase, follow_gradients, token_nats
from saint.progress import Progress, Silent
from saint.records import SensitivityMap, Site
from saint.sensitivity._map import Map


def measure_sensitivity(
    base: FrozenBase,
    text: Corpus,
    *,
    stack: Sequence[Graft] = (),
    method: str = "gradient",
    num_batches: int = 4,
    batch_size: int = 8,
    seq_len: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> SensitivityMap:
    """How much the composed model's loss would answer to a change, for every site at once.

    One forward and one backward pass per batch, whatever the number of sites; no weight gradient is kept.

    Args:
        text: Must be the train split: scoring on held-out text would leak it into the choice of sites.
        stack: What stands already: sensitivity is a property of the model that is to be grown now.
        seed: Chooses the windows. Same seed and machine, same map.

    Raises:
        UnknownNameError: No map is called `method`.
        DataError: The text is shorter than a window.
    """
    observer = discovery.find("sensitivity", method, Map)()
    batches = text.batches(batch_size=batch_size, seq_len=seq_len, seed=seed)
    model = compose(base, stack)
    model.requires_grad_(requires_grad=False)
    follow_gradients(model.model)
    for site in base.sites():
        module = model.model.get_submodule(site.module)
        module.register_forward_hook(_Watch(observer, site).see, with_kwargs=True)
    num_tokens = num_batches * batch_size * seq_len
    with (progress or Silent()).task("sensitivity", total=num_tokens, unit="tokens") as task:
        for step in range(num_batches):
            loss = token_nats(model, batches[step].to(base.model.device)).mean()
            loss.backward()
            task.advance(batch_size * seq_len)
    return SensitivityMap(method=method, scores=observer.scores())


@final
class _Watch:
    """Shows a map what a site saw in one batch, in one piece however often the model calls the site.

    An encoder-decoder's sites are called twice in a batch, and the gradient of a weight is the sum over all calls.
    """

    def __init__(self, observer: Map, site: Site) -> None:
        self._observer, self._site = observer, site
        self._num_open = 0
        self._seen: list[tuple[Tensor, Tensor]] = []

    def see(self, _module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook: when the gradient has come back to the last of its calls, the map is shown all of them."""
        y: Tensor = output[0] if isinstance(output, tuple) else output
        x: Tensor = y if self._site.sort in ("block", "insertion") else args[0]
        self._num_open += 1

        def gather(gradient: Tensor) -> None:
            self._seen.append((x.detach().flatten(0, -2).float(), gradient.flatten(0, -2).float()))
            self._num_open -= 1
            if not self._num_open:
                inputs, gradients = zip(*self._seen, strict=True)
                self._observer.observe(self._site, torch.cat(inputs), torch.cat(gradients))
                self._seen.clear()

        y.register_hook(gather)
