"""Matrix products as vector code, written out: for the few rows of one step, and for sums over all.

A call to a BLAS costs more than the product of one step, and its own threads would get in the way
of those that share the batch. Here a block of the result, eight rows by two vectors, stays in
registers while what it is made of passes by: each vector of weights that is read is busy in eight
multiplications. One row alone is summed in several parts, as it would else wait for itself.
"""

from __future__ import annotations

from typing import Any

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
    store,
)

_ROWS = (8, 4, 1)  # of a block
_PARTS = 4  # of a sum for one row

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
        width = lanes(element)
        at = cgutils.alloca_once_value(builder, ir.Constant(INTEGER, 0))
        if MASKS:
            self._columns(at, width, 2, masked=True)
            self._columns(at, width, 1, masked=True)
            return
        self._columns(at, width, 2)
        while width > 1:
            self._columns(at, width, 1)
            width //= 4
        self._columns(at, 1, 1)

    def _columns(self, at: Any, width: int, vectors: int, masked: bool = False) -> None:
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
        for count in _ROWS:
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
        parts = _PARTS if rows == 1 else 1
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
        """Emit the sum over the matrices, the second pair as one more of them."""
        b, g = self.builder, self.given
        zero = ir.Constant(INTEGER, 0)
        more = b.icmp_signed(">", g["inner2"], zero)
        times = b.add(g["times"], b.zext(more, INTEGER))
        with loop(b, zero, times) as s:
            first = b.icmp_signed("<", s, g["times"])
            x = b.select(first, b.gep(g["x"], [b.mul(s, g["x_times"])]), g["x2"])
            w = b.select(first, b.gep(g["w"], [b.mul(s, g["w_times"])]), g["w2"])
            row = b.select(first, g["x_row"], g["x2_row"])
            step = b.select(first, g["x_inner"], ir.Constant(INTEGER, 1))
            w_row = b.select(first, g["w_inner"], g["w2_inner"])
            inner = b.select(first, g["inner"], g["inner2"])
            w = b.gep(w, [j])
            x_rows = [
                b.gep(x, [b.mul(b.add(i, ir.Constant(INTEGER, r)), row)]) for r in range(rows)
            ]
            whole = b.and_(inner, ir.Constant(INTEGER, -len(self.sums)))
            with loop(b, zero, whole, len(self.sums)) as k:
                for p, part in enumerate(self.sums):
                    at = b.add(k, ir.Constant(INTEGER, p))
                    self._multiply(part, x_rows, step, w, w_row, at)
            if len(self.sums) > 1:
                with loop(b, whole, inner) as k:
                    self._multiply(self.sums[0], x_rows, step, w, w_row, k)

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
