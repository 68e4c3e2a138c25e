"""ApiClient and Configuration of kubernetes-asyncio, without its models and typed APIs.

`import kubernetes_asyncio.client` imports 850 modules that Raysweep never uses, which costs 36 MiB
and half a second of CPU at each start. docs/decisions/0002-libraries-and-pins.md has the figures.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

PACKAGES = ("kubernetes_asyncio", "kubernetes_asyncio.client", "kubernetes_asyncio.client.models")
"""Their `__init__` modules import everything."""


def _skip_init_modules() -> None:
    """Registers the packages as if their `__init__` modules were empty.

    Modules inside them are imported as usual. A program that has imported the whole client keeps
    it.
    """
    if PACKAGES[0] in sys.modules:
        return
    spec = find_spec(PACKAGES[0])
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [root] = spec.submodule_search_locations
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [root + name.removeprefix(PACKAGES[0]).replace(".", "/")]
        sys.modules[name] = package


_skip_init_modules()

from kubernetes_asyncio.client.api_client import ApiClient  # noqa: E402 - after the packages
from kubernetes_asyncio.client.configuration import Configuration  # noqa: E402

__all__ = ["ApiClient", "Configuration"]
