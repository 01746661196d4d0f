"""Stand-ins until the room's own are merged."""

from math import exp, inf, lgamma, log, log1p, pi, sqrt

import numpy as np


def log_e_value(differences, *, above, clip):
    x = np.clip(differences, -clip, clip) - above
    lam = np.geomspace(1e-3, 0.9, 30) / (clip + above)
    s = np.log1p(lam[:, None] * x[None, :]).sum(1)
    m = s.max()
    return float(m + np.log(np.exp(s - m).mean()))


def log_threshold(number, num_passed, *, alpha):
    k, b = number, num_passed
    return (
        -log(alpha) + log(pi**2 * (b + 1) ** 2 / 6) + log(pi**2 * k**2 / 6) + lgamma(k) - lgamma(b + 1) - lgamma(k - b)
    )


def e_lond_log_threshold(number, num_passed, *, alpha):
    return -log(alpha) + log(pi**2 * number**2 / 6) - log(num_passed + 1)


def log_tail_p_value(num_heavy, num_documents, *, at_most):
    n, p = num_documents, at_most
    terms = [
        lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log1p(-p)
        for i in range(num_heavy + 1)
    ]
    m = max(terms)
    return min(0.0, m + log(sum(exp(t - m) for t in terms)))


def documents_needed(effect, spread, log_threshold, *, clip, power=0.8):
    if spread == 0:
        return 1
    r = effect / spread
    lam = np.geomspace(1e-3, 0.9, 30) / clip * spread
    z = np.linspace(-4, 4, 201)
    w = np.exp(-z * z / 2)
    w /= w.sum()
    x = np.clip(r + z, -clip / spread, clip / spread)
    g = np.log1p(np.maximum(lam[:, None] * x, -0.999))
    m = (g * w).sum(1)
    v = ((g - m[:, None]) ** 2 * w).sum(1)
    best = inf
    for mu, var in zip(m, v):
        if mu > 0:
            need = log_threshold + log(8)
            root = (0.84 * sqrt(var) + sqrt(0.7 * var + 4 * mu * need)) / (2 * mu)
            best = min(best, root**2)
    return int(best) + 1 if best < 1e12 else 10**12
