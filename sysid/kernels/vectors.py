"""Vector code, written out: functions of numbers that run over rows, a vector at a time.

LLVM vectorises a loop only behind checks that its arrays do not overlap, in widths of its choice,
and does what is left over one by one: at the few numbers of one step that costs more than the
work. Here the loop is given as vectors from the start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INTEGER = ir.IntType(64)
_FLAGS = ("contract", "nsz", "arcp")  # no "nnan" and "ninf": a NaN that goes in has to come out


def _vector_bytes() -> tuple[int, bool]:
    """Return how wide this machine's vectors are, and whether loads of a part of one are cheap."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, True
    return (32, False) if features.get("avx") else (16, False)


BYTES, MASKS = _vector_bytes()


def number(dtype: Any) -> Any:
    """Return the LLVM type of a numba type of floating-point numbers."""
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[dtype]


def lanes(element: Any) -> int:
    """Return how many numbers a vector holds."""
    return BYTES // (4 if isinstance(element, ir.FloatType) else 8)


def splat(kind: Any, value: float) -> Any:
    """Return a constant of a type, the same in each lane."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)
    return ir.Constant(kind, value)


class Real:
    """Numbers in the making, one in each lane: its operators emit instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def single(self) -> bool:
        """Whether the numbers are in single precision."""
        kind = self.value.type
        return isinstance(getattr(kind, "element", kind), ir.FloatType)

    def of(self, other: Real | float) -> Any:
        """Return the value of a number, or of a constant in each lane."""
        return other.value if isinstance(other, Real) else splat(self.value.type, other)

    def _made(self, operation: str, a: Any, b: Any) -> Real:
        return Real(self.builder, getattr(self.builder, operation)(a, b, flags=_FLAGS))

    def __add__(self, other: Real | float) -> Real:
        return self._made("fadd", self.value, self.of(other))

    def __radd__(self, other: float) -> Real:
        return self + other

    def __sub__(self, other: Real | float) -> Real:
        return self._made("fsub", self.value, self.of(other))

    def __rsub__(self, other: float) -> Real:
        return self._made("fsub", self.of(other), self.value)

    def __mul__(self, other: Real | float) -> Real:
        return self._made("fmul", self.value, self.of(other))

    def __rmul__(self, other: float) -> Real:
        return self * other

    def __truediv__(self, other: Real | float) -> Real:
        return self._made("fdiv", self.value, self.of(other))

    def __neg__(self) -> Real:
        return Real(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> Real:
        kind = self.value.type
        function = declared(self.builder.module, "llvm.fabs", [kind], kind, [kind])
        return Real(self.builder, self.builder.call(function, [self.value]))

    def sqrt(self) -> Real:
        """Return the square root."""
        kind = self.value.type
        function = declared(self.builder.module, "llvm.sqrt", [kind], kind, [kind])
        return Real(self.builder, self.builder.call(function, [self.value]))

    def __lt__(self, other: Real | float) -> Any:
        return self.builder.fcmp_ordered("<", self.value, self.of(other))

    def __gt__(self, other: Real | float) -> Any:
        return self.builder.fcmp_ordered(">", self.value, self.of(other))

    def power_of_two(self) -> Real:
        """Return ``2^n`` of a number whose last bits are the integer ``n``."""
        digits, offset, size = (23, 127, 32) if self.single else (52, 1023, 64)
        kind, whole = self.value.type, ir.IntType(size)
        if isinstance(kind, ir.VectorType):
            whole = ir.VectorType(whole, kind.count)
        bits = self.builder.shl(self.builder.bitcast(self.value, whole), splat(whole, digits))
        bits = self.builder.add(bits, splat(whole, offset << digits))
        return Real(self.builder, self.builder.bitcast(bits, kind))


def choose(condition: Any, a: Real | float, b: Real | float) -> Real:
    """Return one number where a condition holds, and the other elsewhere."""
    like: Any = a if isinstance(a, Real) else b
    return Real(like.builder, like.builder.select(condition, like.of(a), like.of(b)))


def declared(module: Any, name: str, kinds: list[Any], result: Any, arguments: list[Any]) -> Any:
    """Return one of LLVM's own functions, by its name and the types that it is for."""
    name = ".".join([name, *map(_mangled, kinds)])
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def _mangled(kind: Any) -> str:
    if isinstance(kind, ir.PointerType):
        return "p0" if binding.llvm_version_info[0] > 15 else f"p0{_mangled(kind.pointee)}"
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_mangled(kind.element)}"
    return "f32" if isinstance(kind, ir.FloatType) else "f64"


def address(builder: Any, base: Any, index: Any, kind: Any) -> Any:
    """Return where a vector, or a number, begins that is the ``index``-th number from ``base``."""
    return builder.bitcast(builder.gep(base, [index]), kind.as_pointer())


def load(builder: Any, base: Any, index: Any, kind: Any, mask: Any = None) -> Any:
    """Return a vector, or a number; with a mask zeros where it is not set."""
    element = getattr(kind, "element", kind)
    size, at = (4 if isinstance(element, ir.FloatType) else 8), address(builder, base, index, kind)
    if mask is None:
        return builder.load(at, align=size)
    arguments = [at.type, ir.IntType(32), mask.type, kind]
    function = declared(builder.module, "llvm.masked.load", [kind, at.type], kind, arguments)
    return builder.call(function, [at, ir.Constant(ir.IntType(32), size), mask, splat(kind, 0.0)])


def store(builder: Any, value: Any, base: Any, index: Any, mask: Any = None) -> None:
    """Write a vector, or a number; with a mask only where it is set."""
    kind = value.type
    element = getattr(kind, "element", kind)
    size, at = (4 if isinstance(element, ir.FloatType) else 8), address(builder, base, index, kind)
    if mask is None:
        builder.store(value, at, align=size)
        return
    arguments = [kind, at.type, ir.IntType(32), mask.type]
    function = declared(
        builder.module, "llvm.masked.store", [kind, at.type], ir.VoidType(), arguments
    )
    builder.call(function, [value, at, ir.Constant(ir.IntType(32), size), mask])


def first_lanes(builder: Any, count: Any, width: int) -> Any:
    """Return a mask of the first ``count`` lanes."""
    own = ir.IntType(32)
    kind = ir.VectorType(own, width)
    one = builder.insert_element(
        ir.Constant(kind, ir.Undefined), builder.trunc(count, own), ir.Constant(own, 0)
    )
    all_lanes = builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(kind, [0] * width)
    )
    return builder.icmp_unsigned("<", ir.Constant(kind, list(range(width))), all_lanes)


@contextmanager
def loop(builder: Any, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
    """Emit a loop over ``range(start, stop, step)``; yields the index."""
    with cgutils.for_range_slice(
        builder, start, stop, ir.Constant(INTEGER, step), INTEGER, inc=True
    ) as (index, _):
        yield index


def integers(context: Any, builder: Any, kind: Any, value: Any) -> list[Any]:
    """Return the numbers of a tuple of whole numbers."""
    values = cgutils.unpack_tuple(builder, value, len(kind))
    pairs = zip(values, kind, strict=True)
    return [context.cast(builder, v, k, types.int64) for v, k in pairs]


def is_rows(kind: Any) -> bool:
    """Return whether a type is an array, contiguous, of numbers that there is vector code for."""
    return (
        isinstance(kind, types.Array)
        and kind.layout == "C"
        and kind.dtype in (types.float32, types.float64)
    )


def elementwise(function: Callable[..., Any]) -> Any:
    """Make a function of numbers one of rows, for compiled code.

    Args:
        function: takes and returns ``Real``, one or a tuple.

    Returns:
        ``f(a, c, sources, rows, targets, target_rows)``: reads columns ``a ... c - 1`` of each
        source at its row, a tuple of arrays ``(time, width)`` and one of indices, and writes
        what the function returns to the targets, likewise. All that is read of a vector is read
        before anything of it is written.
    """
    takes = len(inspect.signature(function).parameters)

    @intrinsic
    def apply(
        typing_context: Any, a: Any, c: Any, sources: Any, rows: Any, targets: Any,
        target_rows: Any,
    ) -> Any:  # fmt: skip
        arrays = [*sources, *targets]
        if not all(map(is_rows, arrays)) or len({k.dtype for k in arrays}) > 1:
            return None
        if len(sources) != takes:
            return None
        element = number(arrays[0].dtype)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            first, end = (
                context.cast(builder, v, k, types.int64)
                for v, k in zip(args[:2], signature.args[:2], strict=True)
            )
            sides = [
                _row_starts(context, builder, signature.args[i : i + 2], args[i : i + 2], first)
                for i in (2, 4)
            ]
            _over(builder, function, element, builder.sub(end, first), *sides)
            return context.get_dummy_value()

        return types.void(a, c, sources, rows, targets, target_rows), generate

    return apply


def _row_starts(context: Any, builder: Any, kinds: Any, args: Any, first: Any) -> list[Any]:
    """Return where each array's row begins, at column ``first``."""
    arrays = cgutils.unpack_tuple(builder, args[0], len(kinds[0]))
    rows = integers(context, builder, kinds[1], args[1])
    starts = []
    for kind, array, row in zip(kinds[0], arrays, rows, strict=True):
        made = context.make_array(kind)(context, builder, array)
        width = cgutils.unpack_tuple(builder, made.shape, kind.ndim)[-1]
        starts.append(builder.gep(made.data, [builder.add(builder.mul(row, width), first)]))
    return starts


def _over(
    builder: Any, function: Callable[..., Any], element: Any, count: Any, sources: list[Any],
    targets: list[Any],
) -> None:  # fmt: skip
    """Emit the loop over whole vectors, and what is left over."""
    width = lanes(element)
    wide = ir.VectorType(element, width)

    def body(index: Any, kind: Any, mask: Any = None) -> None:
        read = [Real(builder, load(builder, s, index, kind, mask)) for s in sources]
        made = function(*read)
        for target, value in zip(
            targets, made if isinstance(made, tuple) else (made,), strict=True
        ):
            store(builder, value.value, target, index, mask)

    zero = ir.Constant(INTEGER, 0)
    whole = builder.and_(count, ir.Constant(INTEGER, -width))
    with loop(builder, zero, whole, width) as index:
        body(index, wide)
    if not MASKS:
        with loop(builder, whole, count) as index:
            body(index, element)
        return
    rest = builder.sub(count, whole)
    with builder.if_then(builder.icmp_signed(">", rest, zero)):
        body(whole, wide, first_lanes(builder, rest, width))
