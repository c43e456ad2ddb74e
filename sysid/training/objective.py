"""Objective: what an optimiser improves, and its value, gradient and normal equations."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from sysid.data.records import Array

Stretch = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Errors ``(rows,)`` and their Jacobian ``(rows, columns)``, block by block."""

_GROUPS = 4  # of stretches, in threads; a fixed number, so that sums do not depend on the machine


class Objective(ABC):
    """The mean square error of one batch, at the weights of the moment."""

    @abstractmethod
    def errors(self) -> Iterator[Tensor]:
        """Yield the errors, weighted so that their squares add up to the value, with their graph.

        They come in parts, so that the graph of one part at a time is held.
        """

    def parts(self) -> Iterator[Tensor]:
        """Yield what adds up to the value, each with its graph."""
        for error in self.errors():
            yield error.square().sum()

    @abstractmethod
    def stretches(self) -> Sequence[Stretch]:
        """Return what gives the errors with their Jacobian.

        With an initial state for each stretch that is a parameter as well, its columns come last.
        """

    def dealt(self, rank: int, size: int) -> tuple[Objective | None, float]:
        """Return the share of one of several processes, and its weight in the whole value.

        Items are dealt out one by one. A process that gets none has ``None`` and 0.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be dealt out")

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the value, without a graph."""
        return torch.stack(list(self.parts())).sum()

    def backward(self) -> Tensor:
        """Add the gradient to the parameters' ``grad`` and return the value.

        The value is not waited for on a GPU.
        """
        total: Tensor | None = None
        for part in self.parts():
            part.backward()
            total = part.detach() if total is None else total + part.detach()
        if total is None:
            raise ValueError("a batch must hold at least one part, got none")
        return total

    def pulled(self, errors: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
        """Return ``J'e`` for some ``e`` in the place of the errors, by back-propagation.

        Args:
            errors: as ``errors`` yields them.
            parameters: what ``J`` has columns for, in this order.
        """
        total = torch.zeros_like(parameters_to_vector(parameters))
        for error, other in zip(self.errors(), errors, strict=True):
            grads = torch.autograd.grad(error, parameters, other, materialize_grads=True)
            total += torch.cat([g.flatten() for g in grads])
        return total.detach()

    def normal_equations(self, weight_count: int) -> NormalEquations:
        """Sum ``J'J`` and ``J'r`` over all blocks of all stretches, in threads.

        What is added to what, and in which order, does not depend on the machine.

        Args:
            weight_count: columns that all stretches share.
        """
        stretches = list(self.stretches())
        size = -(-len(stretches) // _GROUPS)
        groups = [stretches[i : i + size] for i in range(0, len(stretches), size)]

        # A group alone has two threads to itself.
        sums = 2 if len(groups) == 1 else 1

        def of_group(group: Sequence[Stretch]) -> NormalEquations:
            return _summed(group, weight_count, sums)

        total = NormalEquations.zero(weight_count)
        with one_thread_each(), ThreadPoolExecutor(len(groups)) as pool:
            for part in pool.map(of_group, groups):
                total.add(part)
        return total


@functools.cache
def _libraries() -> ThreadpoolController:
    """Return the loaded BLAS libraries; to look for them takes longer than a small step."""
    return ThreadpoolController()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep torch and NumPy to the threads they are called from.

    Where whole pieces of work go side by side, threads inside of them only take the cores from
    each other: both libraries' wait for the next call in a loop.
    """
    before = torch.get_num_threads()
    with _libraries().limit(limits=1, user_api="blas"):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@dataclass
class StateEquations:
    """The rows and columns of one stretch's initial state."""

    cross: Array  # (P, s)
    matrix: Array  # (s, s)
    vector: Array  # (s,)


@dataclass
class NormalEquations:
    """``r'r``, ``J'J`` and ``J'r`` of errors ``r`` with Jacobian ``J``.

    An initial state touches only its own stretch, so ``J'J`` is an arrow: what the weights
    share, and beside it a small block for each state.
    """

    value: float
    matrix: Array  # (P, P)
    vector: Array  # (P,)
    states: list[StateEquations] = field(default_factory=list)

    @classmethod
    def zero(cls, count: int) -> NormalEquations:
        """Return the sum of nothing."""
        return cls(0.0, np.zeros((count, count)), np.zeros(count))

    def add(self, other: NormalEquations) -> None:
        """Add the sums over other stretches."""
        self.value += other.value
        self.matrix += other.matrix
        self.vector += other.vector
        self.states += other.states

    @property
    def diagonal(self) -> Array:
        """The diagonal of ``J'J``, weights first."""
        return np.concatenate([np.diag(self.matrix), *(np.diag(s.matrix) for s in self.states)])

    @property
    def whole_vector(self) -> Array:
        """``J'r``, weights first."""
        return np.concatenate([self.vector, *(s.vector for s in self.states)])

    def times(self, step: Array) -> Array:
        """Return ``J'J step``."""
        count = len(self.vector)
        of_weights, out = step[:count], self.matrix @ step[:count]
        parts, first = [], count
        for s in self.states:
            own = step[first : first + len(s.vector)]
            out = out + s.cross @ own
            parts.append(s.cross.T @ of_weights + s.matrix @ own)
            first += len(s.vector)
        return np.concatenate([out, *parts])

    def solve(self, ridge: Array, vector: Array) -> Array:
        """Return ``-(J'J + diag(ridge))^-1 vector``; the states are eliminated one by one.

        Raises:
            numpy.linalg.LinAlgError: if the matrix is not positive definite to rounding.
        """
        with one_thread_each():
            return self._solve(ridge, vector)

    def _solve(self, ridge: Array, vector: Array) -> Array:
        count = len(self.vector)
        matrix = self.matrix + np.diag(ridge[:count])
        right = vector[:count].copy()
        eliminated = []
        for i, s in enumerate(self.states):
            size = len(s.vector)
            first = count + i * size
            own = scipy.linalg.cho_factor(s.matrix + np.diag(ridge[first : first + size]))
            to_weights = scipy.linalg.cho_solve(own, s.cross.T)  # (s, P)
            alone = scipy.linalg.cho_solve(own, vector[first : first + size])
            matrix -= s.cross @ to_weights
            right -= s.cross @ alone
            eliminated.append((to_weights, alone))
        step = -scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), right)
        return np.concatenate([step, *(-alone - to @ step for to, alone in eliminated)])


class _Sum:
    """``r'r``, ``J'J`` and ``J'r`` over some blocks."""

    def __init__(self, columns: int) -> None:
        self.value = 0.0
        self.matrix = np.zeros((columns, columns))
        self.vector = np.zeros(columns)

    def add(self, error: Tensor, jacobian: Tensor) -> None:
        """Add a block."""
        r, j = error.double().cpu().numpy(), jacobian.double().cpu().numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the sums looks at them
            self.value += float(r @ r)
            # One operand twice: NumPy takes syrk, half the work of gemm. SciPy's own would add at
            # once, but it keeps the interpreter's lock.
            self.matrix += j.T @ j
            self.vector += j.T @ r


def _summed(stretches: Sequence[Stretch], count: int, sums: int) -> NormalEquations:
    """Sum over stretches, one after the other.

    With two sums, blocks go to them in turn. A second thread multiplies while this one makes the
    next block; where it falls behind, this one lends a hand.
    """
    total = NormalEquations.zero(count)
    with ThreadPoolExecutor(1) as helper:
        for stretch in stretches:
            parts: list[_Sum] = []
            unfinished: deque[tuple[Future[None], Callable[[], None]]] = deque()
            for i, (error, jacobian) in enumerate(stretch()):
                if len(parts) < sums:
                    parts.append(_Sum(jacobian.shape[1]))
                add = partial(parts[i % sums].add, error, jacobian)
                if sums == 1:
                    add()
                    continue
                unfinished.append((helper.submit(add), add))
                _lend_a_hand(unfinished, 2)
            _lend_a_hand(unfinished, 1)
            for future, _ in unfinished:
                future.result()
            if parts:
                total.add(_equations(parts, count))
    return total


def _lend_a_hand(unfinished: deque[tuple[Future[None], Callable[[], None]]], most: int) -> None:
    """Do what is left beyond ``most``: the second oldest, as another sum has it than the oldest."""
    while unfinished and unfinished[0][0].done():
        unfinished.popleft()[0].result()
    if len(unfinished) > most:
        future, add = unfinished[1]
        if future.cancel():
            del unfinished[1]
            add()


def _equations(parts: Sequence[_Sum], count: int) -> NormalEquations:
    """Return the equations of one stretch: its own columns are those after ``count``."""
    matrix = np.sum([p.matrix for p in parts], axis=0)
    vector = np.sum([p.vector for p in parts], axis=0)
    own = StateEquations(matrix[:count, count:], matrix[count:, count:], vector[count:])
    return NormalEquations(
        sum(p.value for p in parts),
        matrix[:count, :count],
        vector[:count],
        [own] if len(vector) > count else [],
    )
