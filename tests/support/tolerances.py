"""How far a result may be from the meaning, by dtype: rtol and atol of ``numpy.testing.assert_allclose``."""

import numpy

# dtype -> (relative, absolute); what is not here must be equal
TOLERANCES = {"float16": (5e-3, 5e-3), "float32": (2e-5, 2e-6), "float64": (1e-11, 1e-12)}
# The same for gradients in float64 against central differences with this step.
STEP = 1e-6
GRADIENT = (2e-5, 1e-7)


def assert_close(found: numpy.ndarray, wanted: numpy.ndarray) -> None:
    """Equal shapes and dtypes, and elements within the tolerance of the dtype."""
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    rtol, atol = TOLERANCES.get(wanted.dtype.name, (0, 0))
    numpy.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)
