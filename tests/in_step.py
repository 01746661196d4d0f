"""Processes that take steps together, made by forking the test's own: none loads PyTorch anew."""

import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from saint.training import Processes, together

_PATIENCE_S = 100.0


def in_step(size: int, work: Callable[[Processes], Any]) -> list[Any]:
    """What `work` returns in each of so many processes, with one thread each; one that fails fails the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = get_context("fork")
    ends = [fork.Pipe(duplex=False) for _ in range(size)]
    ranks = [fork.Process(target=_be, args=(rank, size, port, work, end)) for rank, (_, end) in enumerate(ends)]
    try:
        for rank, (_, end) in zip(ranks, ends, strict=True):
            rank.start()
            end.close()
        answers = [here.recv() if here.poll(_PATIENCE_S) else ("it did not end", None) for here, _ in ends]
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    for number, (failure, _) in enumerate(answers):
        assert not failure, f"process {number}: {failure}"
    return [answer for _, answer in answers]


def _be(rank: int, size: int, port: int, work: Callable[[Processes], Any], end: Connection) -> None:
    """Be one of them."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size)}
    os.environ.update(place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)})
    torch.set_num_threads(1)
    try:
        with together(torch.device("cpu"), in_words=True) as processes:
            answer = ("", work(processes))
    except BaseException:
        answer = (traceback.format_exc(), None)
    end.send(answer)
