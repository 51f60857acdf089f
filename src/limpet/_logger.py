"""The logger of Limpet's classes: it names the class and holds on to no instance.

`twisted.logger.Logger` puts the instance that logs into each event. A program that has not begun to
log keeps its last 65,536 events in memory, and with them would keep every connection that ever said
a word.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from twisted.logger import Logger


class ClassLogger(Logger):
    """For a class's attribute: `log_namespace` is the class through which it is reached."""

    _ofClass: WeakKeyDictionary[type, Logger] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        owner = type(instance) if owner is None else owner
        if self._ofClass is None:
            self._ofClass = WeakKeyDictionary()
        found = self._ofClass.get(owner)
        if found is None:
            found = Logger(f"{owner.__module__}.{owner.__name__}", observer=self.observer)
            self._ofClass[owner] = found
        return found
