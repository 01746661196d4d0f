"""What coordination costs: the time in which a worker waits between one trial and the next."""

import time

from benchmarks.distributed.setting import Setting, site_for
from benchmarks.search.findings import Findings
from saint.search import Role

_TRIAL_S = 10.0


def measure(setting: Setting) -> Findings:
    """Of one worker, so that every second in which its answer is checked and recorded is one in which it waits."""
    findings = Findings(setting=setting.search)
    site = site_for(setting, "overhead")
    num_trials = 6 if setting.size == "full" else 2
    hands, _ = site.hands(1)
    with hands:
        hands.train(site.journal, site.trials([1_000], depth=0))
        before = hands.crew.efforts[Role.SEARCH].seconds
        began, cpu_began = time.monotonic(), time.process_time()
        hands.train(site.journal, site.trials(list(range(num_trials)), depth=0))
        waited_s = time.monotonic() - began - (hands.crew.efforts[Role.SEARCH].seconds - before)
        cpu_s = time.process_time() - cpu_began
    share = waited_s / num_trials / _TRIAL_S
    findings.ask("overhead_per_trial", "a worker's wait between trials", "a trial of 10 s", share, 0.02, "at_most")
    findings.notes.append(
        f"{num_trials} trials: a worker waited {waited_s / num_trials:.3f} s after each, while its graft was checked, "
        f"measured again on select and recorded; its coordinator took {cpu_s / num_trials:.3f} s of a processor"
    )
    return findings
