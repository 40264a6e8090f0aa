"""How far each head is moved along each direction, by one set of sliders."""

from collections.abc import Sequence

Pairs = tuple[tuple[str, float], ...]


class Strengths:
    """The sliders' values: of all heads, or of one of them.

    Attributes:
      target: number of the head that the sliders move, or None for all.
    """

    def __init__(self, directions: Sequence[str]):
        self.target: int | None = None
        self._directions = tuple(directions)
        self.reset()

    def reset(self) -> None:
        """Every head as it was."""
        self._all = dict.fromkeys(self._directions, 0.0)
        self._own: dict[int, dict[str, float]] = {}

    def move(self, direction: str, value: float) -> None:
        """A slider was moved. That of all heads moves those, too, that have been moved by themselves."""
        if self.target is None:
            self._all[direction] = value
            for own in self._own.values():
                own[direction] = value
        else:
            self._own.setdefault(self.target, dict(self._all))[direction] = value

    def shown(self) -> dict[str, float]:
        """The values that the sliders have for their target."""
        return self._all if self.target is None else self._own.get(self.target, self._all)

    def of_all(self) -> Pairs:
        """(direction, value) of the heads that have no values of their own."""
        return tuple(self._all.items())

    def of_some(self) -> tuple[tuple[int, Pairs], ...]:
        """(head's number, its pairs) of the others."""
        return tuple((number, tuple(own.items())) for number, own in sorted(self._own.items()))
