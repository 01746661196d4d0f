"""Grafts as a PEFT method: importing this room adds `SAINT_GRAFT` to the methods that PEFT knows.

`get_peft_model`, `Trainer`, `save_pretrained` and `PeftModel.from_pretrained` then work with `GraftConfig` as they do
with `LoraConfig`. A program that loads such an adapter has to import this room first.
"""

from saint.peft._config import GraftConfig as GraftConfig
from saint.peft._initialise import initialise as initialise
from saint.peft._layer import GraftLayer as GraftLayer
from saint.peft._model import GraftModel as GraftModel
from saint.peft._register import register

register(GraftConfig, GraftModel)
