"""At which level each of many questions may be asked, so that all of them together stay honest."""

from math import lgamma, log, pi

from saint.errors import ConfigError

_LOG_ZETA_2 = log(pi**2 / 6)  # sum of 1 / k^2


def log_threshold(number: int, num_passed: int, *, alpha: float) -> float:
    """ln(1/alpha_kb) of the k-th question to one hold-out, b of those before it having passed.

    alpha_kb = alpha (6/pi^2)^2 / (k^2 (b+1)^2 C(k-1, b)). If a question's answer is one bit, the k-th candidate follows
    from the k-1 bits before it and from what is independent of the hold-out; with b of them set there are C(k-1, b)
    sequences, so at most as many candidates at (k, b). By the union bound over all of these, of all k and b, the
    probability of any false acceptance is at most sum_kb C(k-1, b) alpha_kb <= alpha: ever, with neither the number of
    candidates nor that of acceptances fixed before, and whatever they were chosen by.

    Args:
        number: k, from 1.
        num_passed: b.

    Raises:
        ConfigError: The counts cannot be, or alpha is no probability.

    Source:
        Blum and Hardt 2015, arXiv:1502.04585, the description-length argument, as a test.
    """
    _must_be_counts(number, num_passed, alpha)
    log_choose = lgamma(number) - lgamma(num_passed + 1) - lgamma(number - num_passed)
    return -log(alpha) + 2 * _LOG_ZETA_2 + 2 * log(number) + 2 * log(num_passed + 1) + log_choose


def e_lond_log_threshold(number: int, num_passed: int, *, alpha: float) -> float:
    """ln(1/alpha_k) of the k-th question where every question has documents of its own.

    alpha_k = alpha gamma_k (b + 1) with gamma_k = 6 / (pi^2 k^2). With e-values the expected share of false acceptances
    among all is at most alpha, under any dependence between them.

    Args:
        number: k, from 1.
        num_passed: b, how many of those before it were accepted.

    Raises:
        ConfigError: The counts cannot be, or alpha is no probability.

    Source:
        Xu and Ramdas 2024, arXiv:2311.06412, algorithm e-LOND.
    """
    _must_be_counts(number, num_passed, alpha)
    return -log(alpha) + _LOG_ZETA_2 + 2 * log(number) - log(num_passed + 1)


def _must_be_counts(number: int, num_passed: int, alpha: float) -> None:
    if not 0 <= num_passed < number:
        raise ConfigError(f"question {number} cannot have {num_passed} before it that passed; count from 1")
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}; it must be between 0 and 1")
