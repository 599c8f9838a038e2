"""The application's hooks: each may be a coroutine function, and what it returns is checked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import update_wrapper
from typing import Any

from flask import Flask

from ..exceptions import ConfigurationError

Hook = Callable[..., Any]

_WORDS: Mapping[type[Any], str] = {Mapping: "dict", type(None): "None"}


def usable_hook(app: Flask, setting: str, hook: Hook, *, returns: tuple[type[Any], ...]) -> Hook:
    """Return a hook that is awaited where it is a coroutine function, and whose result is one of some types.

    The package's own hooks are right already, and stay as they are.

    :param setting: the name of the hook's setting.
    :param returns: the types that its result may have; none for a hook whose result nobody reads.
    :raises ValueError: for a generator function, of which a call runs nothing.
    """
    if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
        raise ValueError(f"is the generator function {hook.__name__}, whose code would not run: remove its yield")
    module = getattr(hook, "__module__", None) or ""
    is_ours = module.startswith("flask_rest_registration.") and inspect.unwrap(hook) is hook
    if is_ours:
        return hook

    def checked(*arguments: Any, **keywords: Any) -> Any:
        """Call the hook.

        :raises ConfigurationError: naming the setting, if the result has another type.
        """
        result = hook(*arguments, **keywords)
        if inspect.isawaitable(result):
            result = _awaited(app, setting, result)
        if returns and not isinstance(result, returns):
            expected = " or ".join(_WORDS.get(kind, kind.__name__) for kind in returns)
            what = f"{setting} ({getattr(hook, '__name__', type(hook).__name__)})"
            raise ConfigurationError(f"{what} returned {type(result).__name__}. Fix: let it return {expected}.")
        return result

    update_wrapper(checked, hook)
    return checked


def _awaited(app: Flask, setting: str, result: Awaitable[Any]) -> Any:
    async def finish() -> Any:
        return await result

    try:
        run = app.ensure_sync(finish)
    except RuntimeError as error:  # Flask's, which lacks asgiref
        if inspect.iscoroutine(result):
            result.close()
        raise ConfigurationError(f"{setting} is asynchronous: {error} Fix: run pip install 'flask[async]'.") from None
    return run()
