"""Settings files as they were published: what has another name here, and what is refused with a reason."""

from pathlib import Path

import pytest

from saint.errors import ConfigError
from saint.training import RunPlan, load_run

PUBLISHED = """
vocab_size: 50000
d_model: 96
n_heads: 3
n_layers: 6
d_ff: 384
max_seq_len: 512
dropout: 0.1
bias: false
data_dir: text
batch_size: 16
learning_rate: 0.0008
warmup_steps: 300
total_tokens: 100_000_000
mixed_precision: none
gradient_accumulation_steps: 2
gradient_checkpointing: false
distributed: true
fsdp: true
fsdp_sharding: full
compile_model: false
eval_interval: 500
d_manifold: 6
metric_hidden: 24
n_quad: 0
gamma_enabled: true
gamma_c: 2.45
gravity_enabled: true
gravity_strength: 0.1
variable_dim: true
lambda_metric_reg: 0.002
lambda_metric_diversity: 0.05
lambda_ortho: 0.01
target_metric_var: 0.003
save_dir: run
temperature_min: 0.5
"""


def loaded(folder: Path, *overrides: str) -> RunPlan:
    (folder / "published.yaml").write_text(PUBLISHED)
    return load_run(folder / "published.yaml", overrides=overrides)


def test_what_has_another_name_here_is_known(tmp_path: Path) -> None:
    plan = loaded(tmp_path)
    assert plan.model_type == "drm"
    assert plan.warmup_tokens == 300 * 16 * 2 * 512
    assert (plan.seq_len, plan.mixed_precision, plan.compile, plan.fsdp) == (512, "fp32", False, True)
    assert plan.model["metric_size_weight"] == 0.002
    assert (plan.model["orthogonality_weight"], plan.model["spread_weight"]) == (0.01, 0.05)
    assert plan.model["spread_target"] == 0.003
    assert not {"bias", "n_quad", "lambda_ortho", "warmup_steps", "distributed"} & plan.model.keys()


def test_an_override_under_either_name_wins(tmp_path: Path) -> None:
    changed = loaded(tmp_path, "batch_size=1", "warmup_steps=10", "orthogonality_weight=0.5", "compile=true", "fsdp=no")
    assert changed.warmup_tokens == 10 * 1 * 2 * 512
    assert changed.model["orthogonality_weight"] == 0.5
    assert (changed.compile, changed.fsdp) == (True, False)
    assert loaded(tmp_path, "warmup_tokens=99").warmup_tokens == 99


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("bias=true", "bias is True, but linear maps in blocks have no bias; leave bias out"),
        ("n_quad=4", "n_quad is 4, but distances are taken from the metric at the query"),
        ("distance_mode=quadrature", "distance_mode is 'quadrature', but distances are taken from the metric"),
        ("fsdp_sharding=grad", "fsdp_sharding is 'grad', but a model is divided whole"),
        ("distributed=false", "distributed is False, but there are as many processes as torchrun started"),
        ("early_stopping_patience=10", "but a run is as long as total_tokens"),
        ("eval_data_dir=text", "but what is held out is the split val of data_dir"),
        ("data_max_tokens=10", "--derive-subset-from makes a smaller text"),
        ("num_workers=2", "but text is mapped into memory"),
        ("metric_diversity_warmup_steps=5300", "acts from the first step on"),
        ("lambda_torus=0.07", "penalties on the shape of the manifold are not built"),
        ("torus_target_radius=0.35", "penalties on the shape of the manifold are not built"),
        ("mixed_precision=fp16", "mixed_precision: expected 'fp32' or 'bf16'"),
        ("warmup_steps=few", "warmup_steps is 'few'; to count the tokens of warmup_steps it must be a whole number"),
    ],
)
def test_what_does_not_exist_here_is_refused_with_the_reason(override: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, override)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_setting_under_two_names_is_refused(tmp_path: Path) -> None:
    for first, second in (("warmup_steps=3", "warmup_tokens=5"), ("lambda_ortho=1", "orthogonality_weight=2")):
        with pytest.raises(ConfigError, match="are both given, which are one setting"):
            loaded(tmp_path, first, second)


def test_of_other_models_these_are_settings_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("model_type: llama\nbias: true\nseq_len: 8\nbatch_size: 1\ntotal_tokens: 80\n")
    plan = load_run(tmp_path / "other.yaml", overrides=("data_dir=text", "save_dir=run", "warmup_steps=2"))
    assert plan.model["bias"] is True
    assert plan.warmup_tokens == 16
