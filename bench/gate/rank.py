"""Mann and Whitney's U test, one-sided, exact for small samples without ties."""
from functools import lru_cache
from math import comb


@lru_cache(maxsize=None)
def ways(n, m, u):
    """In how many orders of n + m values the first n win exactly u of the n * m pairs."""
    if u < 0 or u > n * m:
        return 0
    if n == 0 or m == 0:
        return 1 if u == 0 else 0
    return ways(n - 1, m, u - m) + ways(n, m - 1, u)


def p_larger(base, head):
    """The chance of so many (or more) pairs with head > base when both are alike. Ties count half, rounded against an alarm."""
    wins = sum((h > b) + 0.5 * (h == b) for h in head for b in base)
    n, m = len(head), len(base)
    return sum(ways(n, m, u) for u in range(int(wins), n * m + 1)) / comb(n + m, n)


def median(values):
    v = sorted(values)
    return (v[len(v) // 2] + v[(len(v) - 1) // 2]) / 2
