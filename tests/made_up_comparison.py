"""Rows and records of a comparison that nobody ran."""

from typing import Any


def interval(estimate: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {
        "estimate": estimate,
        "low": estimate - 0.01 if low is None else low,
        "high": estimate + 0.01 if high is None else high,
        "standard_error": 0.004,
        "num_documents": 20,
        "num_seeds": 3,
        "standard_error_of_documents": 0.003,
        "standard_error_of_seeds": 0.002,
        "degrees": 7.0,
    }


def made_up_row(
    arm: str,
    budget: float | None,
    gain: float | None,
    *,
    num_bytes: int = 1000,
    seconds: float = 10.0,
    ours: bool = True,
    status: str = "measured",
    difference: tuple[float, float] | None = None,
    kind: str = "",
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arm": arm,
        "kind": kind or arm,
        "ours": ours,
        "budget": budget,
        "num_params_allowed": 10_000,
        "status": status,
        "options": {"rank": 4, "at": {"model.layers.0.mlp.up_proj": {"rank": 5}}} if budget else {},
        "sites": ["model.layers.0.mlp.up_proj"] if budget else [],
        "lr": None if gain is None else 0.01,
        "lr_at_the_edge": False,
        "tried": [] if status == "nothing fits" else [{"lr": 0.01, "select_bpb": 1.5, "failure": None}],
        "seeds": [],
        "gain_bpb": None if gain is None else interval(gain),
        "difference_bpb": None,
        "corrected_bpb": None,
        "num_compared": 2,
    }
    if gain is None:
        return row
    if difference is not None:
        middle = sum(difference) / 2
        row["difference_bpb"] = interval(middle, *difference)
        row["corrected_bpb"] = interval(middle, difference[0] - 0.01, difference[1] + 0.01)
    cost = {"num_params": num_bytes // 4, "num_bytes": num_bytes, "train_flops": 1e12, "seconds": seconds}
    return row | {
        **cost,
        "train_tokens": 51_200,
        "flops_per_token": 2048,
        "memory_bytes": 3_000_000,
        "peak_bytes_on_device": None,
        "merge_drift": 1e-6 if budget else None,
        "select_bpb": 2 - gain,
        "regression_bpb": {"code": interval(gain / 2)},
        "gain_per": {
            "parameter": gain / cost["num_params"],
            "byte": gain / num_bytes,
            "flop": gain / 1e12,
            "second": gain / seconds,
        },
    }
