"""How near two pictures are: PSNR and SSIM, the figures that codecs are compared by.

Nothing here knows where the pictures come from.
"""

import math

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter

_LUMA = np.array([0.299, 0.587, 0.114])
"""Source: ITU-R BT.601."""


def psnr(one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    """Peak signal to noise ratio in decibels over all channels; infinite for equal pictures, 40 is hard to see."""
    error = np.mean(np.square(one.astype(np.float64) - other))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


def ssim(one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean structural similarity of the greys, 1 for equal pictures.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Trans. Image
    Process. 13 (2004), with its Gaussian window (11 pixels, sigma 1.5) and constants 0.01 and 0.03; as there, windows
    that cross the border do not count.
    """
    a, b = one @ _LUMA, other @ _LUMA
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    likeness /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(likeness[5:-5, 5:-5].mean())


def _window(values: np.ndarray) -> np.ndarray:
    return gaussian_filter(values, 1.5, radius=5)
