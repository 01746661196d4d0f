"""What of the harness this room builds on, in one place."""

from saint.errors import MissingPackageError

_REMEDY = "pip install 'saint-g[lm-eval]'"

try:
    from lm_eval import simple_evaluate as simple_evaluate
    from lm_eval.api.model import LM as LM
    from lm_eval.tasks import TaskManager as TaskManager
    from lm_eval.utils import (
        get_rolling_token_windows as get_rolling_token_windows,
        make_disjoint_window as make_disjoint_window,
    )
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "lm_eval":
        raise MissingPackageError(f"saint.harness needs the package lm-eval: {_REMEDY}") from error
    raise
except ImportError as error:
    raise MissingPackageError(
        f"saint.harness needs parts of lm-eval that this version does not have ({error}); {_REMEDY}"
    ) from error
