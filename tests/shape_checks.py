"""Checks of the shapes in signatures while the tests run, by jaxtyping and beartype.

jaxtyping decorates every function of losa, nested ones at each call of the outer one, and checks
all calls, which takes two thirds of the time of tiny networks. Here functions without a shape in their
signature are left alone, as mypy checks them, and shapes that were valid before are not checked again.
"""

import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import is_dataclass
from types import FunctionType
from typing import Any, get_args

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def check_where_shapes_are(*, typechecker: Any) -> Callable[[Any], Any]:
    """Take the place of ``jaxtyping.jaxtyped``."""

    def decorate(target: Any) -> Any:
        if not any(map(_has_shape, getattr(target, "__annotations__", {}).values())):
            return target
        # A length in braces is the value of a number, of which forms have only the type.
        by_value = any("{" in str(annotation) for annotation in target.__annotations__.values())
        if inspect.isfunction(target) and not by_value:
            return _checked(target, typechecker)
        if is_dataclass(target) and not by_value:
            target.__init__ = _checked(target.__init__, typechecker)  # type: ignore[misc]
            return target
        return _jaxtyped(typechecker=typechecker)(target)

    return decorate


def _has_shape(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_has_shape, get_args(annotation)))


class _Checks:
    """The checks of one function, of its arguments and of its result with them."""

    def __init__(self, target: Any, typechecker: Any) -> None:
        check = _jaxtyped(typechecker=typechecker)
        self._result = threading.local()
        self.arguments = check(_like(target, lambda *arguments, **options: None, returns=False))
        self._both = check(_like(target, lambda *arguments, **options: self._result.value, returns=True))
        self.valid: set[Any] = set()
        """Forms that were valid."""

    def result(self, result: Any, arguments: Any, options: Any) -> None:
        self._result.value = result
        try:
            self._both(*arguments, **options)
        finally:
            del self._result.value


_CHECKS: dict[Any, _Checks] = {}
"""By the code of the function: one that is nested is made anew with each call."""


def _checked(target: Any, typechecker: Any) -> Any:
    """A function that is checked when its arguments, or its result, have forms that were not met yet."""
    key = target.__module__, target.__qualname__, target.__code__

    @functools.wraps(target)
    def call(*arguments: Any, **options: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return target(*arguments, **options)
        checks = _CHECKS.get(key)
        if checks is None:
            checks = _CHECKS[key] = _Checks(target, typechecker)
        given = tuple(map(_form, arguments)), _form(options) if options else None
        if given not in checks.valid:
            checks.arguments(*arguments, **options)
            checks.valid.add(given)
        result = target(*arguments, **options)
        both = given, _form(result)
        if both not in checks.valid:
            checks.result(result, arguments, options)
            checks.valid.add(both)
        return result

    return call


def _form(value: Any) -> Any:
    """Types, and shapes and dtypes of arrays: what annotations speak of."""
    kind = type(value)
    if kind in _WITHOUT_SHAPE:
        return kind
    if kind is tuple or kind is list:
        return kind, *map(_form, value)
    if kind is dict:
        return kind, *((key, _form(each)) for key, each in value.items())
    if kind is str:
        return value
    try:
        return kind, value.dtype, value.shape
    except AttributeError:
        _WITHOUT_SHAPE.add(kind)
        return kind


_WITHOUT_SHAPE: set[type] = set()


def _like(target: Any, function: Any, *, returns: bool) -> Any:
    """A function with the signature of another one."""
    made = FunctionType(function.__code__, target.__globals__, closure=function.__closure__)
    functools.update_wrapper(made, target)
    if not returns:
        signature = inspect.signature(target)
        made.__signature__ = signature.replace(return_annotation=Any)  # type: ignore[attr-defined]
        made.__annotations__ = {**target.__annotations__, "return": Any}
    return made
