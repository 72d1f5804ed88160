"""What was measured of many durations: quantiles and shares of a t-digest, merged at will."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastdigest import TDigest, merge_all

Stored = bytes | memoryview


class Sketch:
    """Seconds, as a t-digest of at most about 100 centroids.

    Its answers are off by at most 2 % of rank in the middle, 1 % at the 95th percentile and 0.5 % at
    the 99th (docs/stats.md); of few values they are interpolated."""

    __slots__ = ("_digest",)

    def __init__(self, digest: TDigest | None = None) -> None:
        self._digest = digest

    @classmethod
    def read(cls, stored: Sequence[Stored]) -> Sketch:
        """The sketch of everything in these stored ones."""
        return cls._of([TDigest.from_bytes(bytes(one)) for one in stored])

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """The sketch of everything in these."""
        return cls._of([one._digest for one in sketches if one._digest is not None])

    @classmethod
    def _of(cls, digests: list[TDigest]) -> Sketch:
        if not digests:
            return cls()
        return cls(digests[0] if len(digests) == 1 else merge_all(digests))

    @property
    def count(self) -> int:
        """How many values it holds."""
        return 0 if self._digest is None else int(self._digest.n_values)

    def quantile(self, share: float) -> float | None:
        """The seconds below which `share` (0 to 1) of the values lie; None: there are none."""
        return None if self._digest is None else max(float(self._digest.quantile(share)), 0.0)

    def quantiles(self, shares: Sequence[float]) -> list[float] | None:
        """The same for several shares at once."""
        if self._digest is None:
            return None
        return [max(float(one), 0.0) for one in self._digest.quantile_vec(list(shares))]

    def share_below(self, seconds: float) -> float | None:
        """Which share of the values (0 to 1) lies below `seconds`; None: there are none."""
        return None if self._digest is None else float(self._digest.cdf(seconds))
