"""Any model or composition in EleutherAI's lm-evaluation-harness, through its own interface.

What is asked goes through the same arithmetic as the benchmarks of `saint measure`; the tasks, their prompts and their
scores are the harness's own. It is an extra: pip install 'saint-g[lm-eval]'.
"""

from saint.harness._model import HarnessModel as HarnessModel
from saint.harness._run import run_harness as run_harness
