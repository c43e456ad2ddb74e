"""sysid learns models of dynamic systems from measured input/output records, with PyTorch.

Names load on first use, so that importing the package is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
