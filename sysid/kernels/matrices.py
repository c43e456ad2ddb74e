"""Matrix products as vector code, written out: for the few rows of one step, and for sums over all.

A call to a BLAS costs more than the product of one step, and its own threads would get in the way
of those that share the batch. Here a block of the result, eight rows by two vectors, stays in
registers while what it is made of passes by: each vector of weights that is read is busy in eight
multiplications. One row alone is summed in several parts, as it would else wait for itself. A
single column is summed along, a vector of numbers at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sysid.kernels.vectors import (
    INTEGER,
    MASKS,
    declared,
    first_lanes,
    is_rows,
    lanes,
    load,
    loop,
    number,
    splat,
    store,
)

_ROWS = (8, 4, 1)  # of a block
_SUMS = 8  # that are under way at once for one row

# Of the function that is emitted: pointers to numbers, and whole numbers.
_POINTERS = ("out", "start", "x", "w", "x2", "w2")
_NUMBERS = (
    "out_row", "start_row", "start_column", "rows", "columns",
    "x_row", "x_inner", "x_times", "w_inner", "w_times", "inner", "times",
    "x2_row", "w2_inner", "inner2",
)  # fmt: skip


@intrinsic
def product(
    typing_context: Any, out: Any, start: Any, size: Any, x: Any, w: Any, x2: Any, w2: Any
) -> Any:
    """Compute ``start + sum over times of x w + x2 w2``, for compiled code.

    Args:
        typing_context: numba's.
        out: ``(array, first, row)``: where the result goes in the memory of an array, and how
            far apart its rows are; the columns are side by side.
        start: the same of what is added, or ``None``; row 0 for the same to each row.
        size: ``(rows, columns, inner, times)``.
        x: ``(array, first, row, inner, times)``: how far apart rows, columns, and the matrices
            of the sum are; or ``None``, for ones.
        w: ``(array, first, inner, times)``; columns are side by side.
        x2: ``(array, first, row, inner)``: ``inner`` is how many columns there are, side by side;
            or ``None``.
        w2: ``(array, first, inner)``, or ``None``.
    """
    arrays = [k[0] for k in (out, start, x, w, x2, w2) if isinstance(k, types.BaseTuple)]
    if not all(map(is_rows, arrays)) or len({k.dtype for k in arrays}) > 1:
        return None
    element = number(arrays[0].dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = element.as_pointer()
        given: dict[str, Any] = dict.fromkeys(_NUMBERS, ir.Constant(INTEGER, 0))
        places = dict(zip(("out", "start", "size", "x", "w", "x2", "w2"), args, strict=True))
        kinds = dict(zip(places, signature.args, strict=True))

        def unpacked(name: str, *fields: str) -> None:
            """Read a tuple; an array among it becomes a pointer, at ``first``."""
            kind = kinds[name]
            if kind == types.none:
                given[name] = _constant(builder, element, 1.0 if name == "x" else 0.0)
                return
            values = cgutils.unpack_tuple(builder, places[name], len(kind))
            whole = [
                v if isinstance(k, types.Array) else context.cast(builder, v, k, types.int64)
                for v, k in zip(values, kind, strict=True)
            ]
            if isinstance(kind[0], types.Array):
                array = context.make_array(kind[0])(context, builder, whole[0])
                given[name] = builder.gep(array.data, [whole[1]])
                whole = whole[2:]
            given.update(zip(fields, whole, strict=True))

        if kinds["start"] != types.none:
            given["start_column"] = ir.Constant(INTEGER, 1)
        unpacked("out", "out_row")
        unpacked("start", "start_row")
        unpacked("size", "rows", "columns", "inner", "times")
        unpacked("x", "x_row", "x_inner", "x_times")
        unpacked("w", "w_inner", "w_times")
        unpacked("x2", "x2_row", "inner2")
        unpacked("w2", "w2_inner")
        function = _function(builder.module, element, pointer)
        builder.call(function, [given[n] for n in (*_POINTERS, *_NUMBERS)])
        return context.get_dummy_value()

    return types.void(out, start, size, x, w, x2, w2), generate


def _constant(builder: Any, element: Any, value: float) -> Any:
    """Return where a number stands as many times as a block is wide."""
    count = 2 * lanes(element)
    kind = ir.ArrayType(element, count)
    name = f"sysid_{'ones' if value else 'zeros'}"
    data = cgutils.global_constant(builder.module, name, ir.Constant(kind, [value] * count))
    return builder.bitcast(data, element.as_pointer())


def _function(module: Any, element: Any, pointer: Any) -> Any:
    """Return the product as a function of the module, once for each precision."""
    name = f"sysid_product_{element}"
    found = module.globals.get(name)
    if found:
        return found
    arguments = [pointer] * len(_POINTERS) + [INTEGER] * len(_NUMBERS)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _Product(builder, element, dict(zip((*_POINTERS, *_NUMBERS), function.args, strict=True)))
    builder.ret_void()
    return function


class _Product:
    """The body of the product: over columns, then rows, block by block."""

    def __init__(self, builder: Any, element: Any, given: dict[str, Any]) -> None:
        self.builder, self.element, self.given = builder, element, given
        one = ir.Constant(INTEGER, 1)
        with builder.if_else(builder.icmp_signed("==", given["columns"], one)) as (single, more):
            with single, loop(builder, ir.Constant(INTEGER, 0), given["rows"]) as row:
                _Dot(builder, element, given, row)
            with more:
                self._blocks(lanes(element))

    def _blocks(self, width: int) -> None:
        builder = self.builder
        at = cgutils.alloca_once(builder, INTEGER)
        builder.store(ir.Constant(INTEGER, 0), at)
        one_row = builder.icmp_signed("==", self.given["rows"], ir.Constant(INTEGER, 1))
        with builder.if_then(one_row):
            self._columns(at, width, 4, MASKS, (1,))
        self._columns(at, width, 2, MASKS)
        self._columns(at, width, 1, MASKS)
        while width > 1 and not MASKS:
            width //= 2
            self._columns(at, width, 1)

    def _columns(
        self, at: Any, width: int, vectors: int, masked: bool = False, blocks: Any = _ROWS
    ) -> None:
        """Emit the blocks of so many vectors, as long as there are columns for them."""
        builder, columns = self.builder, self.given["columns"]
        test, body, end = (builder.append_basic_block() for _ in range(3))
        builder.branch(test)
        builder.position_at_end(test)
        j = builder.load(at)
        left = builder.sub(columns, j)
        least = (vectors - 1) * width + 1 if masked else vectors * width
        enough = builder.icmp_signed(">=", left, ir.Constant(INTEGER, least))
        builder.cbranch(enough, body, end)
        builder.position_at_end(body)
        last = builder.sub(left, ir.Constant(INTEGER, (vectors - 1) * width)) if masked else None
        i: Any = ir.Constant(INTEGER, 0)
        rows = self.given["rows"]
        for count in blocks:
            whole = builder.sub(rows, builder.srem(builder.sub(rows, i), self._int(count)))
            with loop(builder, i, whole, count) as row:
                _Block(self, row, count, j, width, vectors, last)
            i = whole
        builder.store(builder.add(j, ir.Constant(INTEGER, vectors * width)), at)
        builder.branch(test)
        builder.position_at_end(end)

    @staticmethod
    def _int(value: int) -> Any:
        return ir.Constant(INTEGER, value)


class _Block:
    """Some rows by some vectors of the result, in registers; of the last vector maybe a part."""

    def __init__(
        self, whole: _Product, i: Any, rows: int, j: Any, width: int, vectors: int, last: Any
    ) -> None:
        self.builder, self.given = whole.builder, whole.given
        self.element, self.width, self.vectors = whole.element, width, vectors
        self.kind = ir.VectorType(self.element, width) if width > 1 else self.element
        self.last = last
        self.mask = None if last is None else first_lanes(self.builder, last, width)
        parts = _SUMS // vectors if rows == 1 else 1
        zero = ir.Constant(self.kind, None)
        self.sums = [
            [
                [cgutils.alloca_once(self.builder, self.kind) for _ in range(vectors)]
                for _ in range(rows)
            ]
            for _ in range(parts)
        ]
        for r, v, at in self._places(i, rows, j, "start_row", "start_column"):
            self.builder.store(self._read(self.given["start"], at, v), self.sums[0][r][v])
        for part in self.sums[1:]:
            for v in range(vectors):
                self.builder.store(zero, part[0][v])
        self._add_all(i, rows, j)
        for r, v, at in self._places(i, rows, j, "out_row", None):
            total = self.builder.load(self.sums[0][r][v])
            for part in self.sums[1:]:
                total = self.builder.fadd(total, self.builder.load(part[r][v]))
            self._write(total, self.given["out"], at, v)

    def _places(self, i: Any, rows: int, j: Any, row: str, column: str | None) -> Any:
        """Yield rows and vectors, and where they are."""
        b = self.builder
        for r in range(rows):
            at_row = b.mul(b.add(i, ir.Constant(INTEGER, r)), self.given[row])
            for v in range(self.vectors):
                at = b.add(j, ir.Constant(INTEGER, v * self.width))
                if column is not None:
                    # Of zeros there are only as many as a block is wide.
                    at = b.mul(at, self.given[column])
                yield r, v, b.add(at_row, at)

    def _add_all(self, i: Any, rows: int, j: Any) -> None:
        """Emit the sum over the matrices."""
        b = self.builder
        with _pairs(b, self.given) as pair:
            w = b.gep(pair.w, [j])
            x_rows = [
                b.gep(pair.x, [b.mul(b.add(i, ir.Constant(INTEGER, r)), pair.x_row)])
                for r in range(rows)
            ]
            whole = b.and_(pair.inner, ir.Constant(INTEGER, -len(self.sums)))
            with loop(b, ir.Constant(INTEGER, 0), whole, len(self.sums)) as k:
                for p, part in enumerate(self.sums):
                    at = b.add(k, ir.Constant(INTEGER, p))
                    self._multiply(part, x_rows, pair.x_step, w, pair.w_step, at)
            if len(self.sums) > 1:
                with loop(b, whole, pair.inner) as k:
                    self._multiply(self.sums[0], x_rows, pair.x_step, w, pair.w_step, k)

    def _multiply(
        self, sums: Any, x_rows: list[Any], step: Any, w: Any, w_row: Any, k: Any
    ) -> None:
        b = self.builder
        at, from_row = b.mul(k, w_row), b.mul(k, step)
        weights = [
            load(
                b, w, b.add(at, ir.Constant(INTEGER, v * self.width)), self.kind,
                self.mask if v == self.vectors - 1 else None,
            )
            for v in range(self.vectors)
        ]  # fmt: skip
        function = declared(b.module, "llvm.fmuladd", [self.kind], self.kind, [self.kind] * 3)
        for row, own in zip(x_rows, sums, strict=True):
            x = b.load(b.gep(row, [from_row]))
            if self.width > 1:
                none = ir.Constant(self.kind, ir.Undefined)
                x = b.insert_element(none, x, ir.Constant(ir.IntType(32), 0))
                every = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
                x = b.shuffle_vector(x, none, every)
            for v, weight in enumerate(weights):
                b.store(b.call(function, [x, weight, b.load(own[v])]), own[v])

    def _read(self, base: Any, at: Any, v: int) -> Any:
        partial = self.last is not None and v == self.vectors - 1
        return load(self.builder, base, at, self.kind, self.mask if partial else None)

    def _write(self, value: Any, base: Any, at: Any, v: int) -> None:
        partial = self.last is not None and v == self.vectors - 1
        store(self.builder, value, base, at, self.mask if partial else None)


class _Dot:
    """One number of the result: along what is side by side in memory a vector at a time."""

    def __init__(self, builder: Any, element: Any, given: dict[str, Any], row: Any) -> None:
        self.builder, self.element = builder, element
        self.kind = ir.VectorType(element, lanes(element))
        start = builder.load(builder.gep(given["start"], [builder.mul(row, given["start_row"])]))
        self.sum = cgutils.alloca_once(builder, element)
        self.sums = [cgutils.alloca_once(builder, self.kind) for _ in range(2)]
        builder.store(start, self.sum)
        for part in self.sums:
            builder.store(splat(self.kind, 0.0), part)
        with _pairs(builder, given) as pair:
            self._add(pair._replace(x=builder.gep(pair.x, [builder.mul(row, pair.x_row)])))
        total = self._across(builder.fadd(*map(builder.load, self.sums)))
        total = builder.fadd(total, builder.load(self.sum))
        store(builder, total, given["out"], builder.mul(row, given["out_row"]))

    def _add(self, pair: _Pair) -> None:
        b, width, one = self.builder, self.kind.count, ir.Constant(INTEGER, 1)
        near = b.and_(b.icmp_signed("==", pair.x_step, one), b.icmp_signed("==", pair.w_step, one))
        done: Any = ir.Constant(INTEGER, 0)
        for vectors in (2, 1):
            whole = b.and_(b.sub(pair.inner, done), ir.Constant(INTEGER, -vectors * width))
            end = b.add(done, b.select(near, whole, ir.Constant(INTEGER, 0)))
            with loop(b, done, end, vectors * width) as k:
                for v in range(vectors):
                    at = b.add(k, ir.Constant(INTEGER, v * width))
                    self._multiply(self.sums[v], self.kind, pair, at, at)
            done = end
        with loop(b, done, pair.inner) as k:
            x_at, w_at = b.mul(k, pair.x_step), b.mul(k, pair.w_step)
            self._multiply(self.sum, self.element, pair, x_at, w_at)

    def _multiply(self, to: Any, kind: Any, pair: _Pair, x_at: Any, w_at: Any) -> None:
        b = self.builder
        function = declared(b.module, "llvm.fmuladd", [kind], kind, [kind] * 3)
        x, w = load(b, pair.x, x_at, kind), load(b, pair.w, w_at, kind)
        b.store(b.call(function, [x, w, b.load(to)]), to)

    def _across(self, vector: Any) -> Any:
        """Add the lanes of a vector, halves at a time."""
        b, width, index = self.builder, self.kind.count, ir.IntType(32)
        while width > 1:
            width //= 2
            kind = ir.VectorType(index, width)
            halves = [
                b.shuffle_vector(vector, vector, ir.Constant(kind, list(range(at, at + width))))
                for at in (0, width)
            ]
            vector = b.fadd(*halves)
        return b.extract_element(vector, ir.Constant(index, 0))


class _Pair(NamedTuple):
    """Two matrices that are multiplied: where they begin, and how far apart their numbers are."""

    x: Any
    w: Any
    x_row: Any
    x_step: Any
    w_step: Any
    inner: Any


@contextmanager
def _pairs(b: Any, g: dict[str, Any]) -> Iterator[_Pair]:
    """Emit a loop over the pairs whose products are added, the second kind as one more of them."""
    zero = ir.Constant(INTEGER, 0)
    more = b.icmp_signed(">", g["inner2"], zero)
    with loop(b, zero, b.add(g["times"], b.zext(more, INTEGER))) as s:
        first = b.icmp_signed("<", s, g["times"])
        yield _Pair(
            b.select(first, b.gep(g["x"], [b.mul(s, g["x_times"])]), g["x2"]),
            b.select(first, b.gep(g["w"], [b.mul(s, g["w_times"])]), g["w2"]),
            b.select(first, g["x_row"], g["x2_row"]),
            b.select(first, g["x_inner"], ir.Constant(INTEGER, 1)),
            b.select(first, g["w_inner"], g["w2_inner"]),
            b.select(first, g["inner"], g["inner2"]),
        )
