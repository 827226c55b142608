"""The CEL engine that runs everywhere: cel-python (import name ``celpy``), pure Python.

A checked tree is lowered, without a parser, to a plain ``lark`` tree for a subclass of celpy's
interpreting ``Evaluator``. Numbers, strings, lists and most functions are celpy's own. The table
of functions replaces the ones that differ from Google's engine, which is the reference:
timestamps and durations (celpy has microseconds and other rules of parsing), conversions of
text, and operators whose results celpy leaves untyped.

Nothing a program sees can reach a log: celpy's functions that log their arguments are not
called, the evaluator has a logger that drops everything, and failures carry no reason.
celpy's ``CompiledRunner`` and ``Environment`` are not used: the first is unsafe between threads,
the second changes the recursion limit of the process.
"""

from tests.support.oracles.celpy_oracle.engine import CelPython

__all__ = ["CelPython"]
