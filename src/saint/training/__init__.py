"""Grafts learn on a stack; bases and controls learn too. Nothing else moves, and everything resumes."""

from saint.training._active import (
    active_stage as active_stage,
    deepened as deepened,
    head_of as head_of,
    lora_rank as lora_rank,
    lora_stage as lora_stage,
)
from saint.training._again import SelectReader as SelectReader
from saint.training._birth import Start as Start, Starts as Starts, birth_tokens as birth_tokens
from saint.training._cost import RoundCost as RoundCost, StepCost as StepCost
from saint.training._count import StepCount as StepCount, count_step as count_step
from saint.training._division import Division as Division
from saint.training._first_stage import FirstStage as FirstStage, train_first_stage as train_first_stage
from saint.training._first_step import loss_on as loss_on, take_first_step as take_first_step
from saint.training._learner import Moments as Moments, time_in as time_in
from saint.training._many import (
    Trained as Trained,
    Workspace as Workspace,
    cache_of as cache_of,
    train_many as train_many,
)
from saint.training._part import (
    Arrived as Arrived,
    Part as Part,
    checkpoint_bytes as checkpoint_bytes,
    state_in as state_in,
    train_part as train_part,
)
from saint.training._processes import Processes as Processes, device_named as device_named, together as together
from saint.training._rates import best_try as best_try, rate_tries as rate_tries
from saint.training._run import train_run as train_run
from saint.training._run_plan import RunPlan as RunPlan, load_run as load_run
from saint.training._schedule import Plateau as Plateau, Schedule as Schedule
from saint.training._search import (
    Rung as Rung,
    Search as Search,
    halving as halving,
    no_number_at as no_number_at,
    promote as promote,
    stopped_at as stopped_at,
)
from saint.training._tokens import check_tokenizer as check_tokenizer
from saint.training._train import (
    BasePlan as BasePlan,
    continue_training as continue_training,
    draw as draw,
    model_config as model_config,
    pretrain as pretrain,
    train as train,
    train_free as train_free,
    untrained as untrained,
)
