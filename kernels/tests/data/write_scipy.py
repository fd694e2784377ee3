"""Writes scipy.txt: small inputs and what numpy and scipy make of them. Each line: name, then numbers.

python write_scipy.py > scipy.txt   (numpy 2.4.6, scipy 1.17.1)
"""
import numpy as np
from scipy import ndimage, special

rng = np.random.default_rng(20)


def line(name, values):
    values = np.asarray(values)
    if values.dtype == bool:
        print(name, "".join("01"[int(v)] for v in values.ravel()))
    else:
        print(name, *(f"{v:.9g}" for v in values.ravel()))


# Masks: sparse ones have many components, dense ones many holes.
for n, share in enumerate([0.05, 0.12, 0.5, 0.75, 0.9]):
    mask = rng.random((7, 9, 11)) < share
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    assert (sizes == sizes.max()).sum() == 1, "one largest component"
    line(f"mask{n}", mask)
    line(f"largest{n}", labels == sizes.argmax())
    line(f"filled{n}", ndimage.binary_fill_holes(mask))

values = rng.normal(100, 50, 997).astype(np.float32)
line("values", values)
line("quantiles", np.quantile(values.astype(np.float64), [0, 0.005, 0.25, 0.5, 0.995, 1]))
line("z_score", ((values.astype(np.float64) - values.mean(dtype=np.float64)) / values.std(ddof=1, dtype=np.float64)))
line("softmax", special.softmax(values[:990].reshape(5, 198).astype(np.float64), axis=0))

volume = rng.normal(0, 1, (5, 6, 7)).astype(np.float32)
line("volume", volume)
# floor((target + 0.5) * n / m), at the edge the last voxel.
at = [np.minimum(((np.arange(m) + 0.5) * (n / m)).astype(int), n - 1) for n, m in zip(volume.shape, (9, 4, 18))]
line("nearest", volume[np.ix_(*at)])
scale = np.array(volume.shape) / np.array((9, 4, 18))
double = volume.astype(np.float64)
line("linear", ndimage.affine_transform(double, scale, 0.5 * scale - 0.5, (9, 4, 18), order=1, mode="nearest"))

# Source index = turn @ target index + shift, an oblique cut; -9 beyond half a voxel from the outermost centres.
turn = np.array([[0.613, 0.227, -0.119], [-0.151, 0.709, 0.257], [0.103, -0.199, 0.811]])
shift = np.array([-0.707, 0.401, -0.303])
places = np.einsum("ab,bkji->akji", turn, np.indices((8, 7, 9))) + shift[:, None, None, None]
sides = np.array(volume.shape)[:, None, None, None]
inside = ((places > -0.5) & (places < sides - 0.5)).all(0)
assert np.minimum(abs(places + 0.5), abs(places + 0.5 - sides)).min() > 1e-5, "no target exactly on the edge"
cut = ndimage.map_coordinates(double, places, order=1, mode="nearest")
line("turn", turn)
line("shift", shift)
line("oblique", np.where(inside, cut, -9))
