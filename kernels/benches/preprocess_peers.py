"""The peers of benches/preprocess.rs, which starts this script and takes turns with it.

In: `volume PATH slices rows columns`, `window scale offset`, then any number of
`case NAME slices rows columns m00 .. m22 s0 s1 s2` (source index = m @ target index + s), `run NAME PEER`,
`check NAME PATH`. Out: a line for each: `peers NAME ...`, `took wall cpu` in seconds, `checked`.
Each peer makes 16-bit floats in 0..1 out of the samples: clip(value * scale + offset, 0, 1).
"""
import os

os.environ["OMP_NUM_THREADS"] = "1"
import sys
import time

import numpy as np
from scipy import ndimage

try:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
except ImportError:
    torch = None


class Case:
    def __init__(self, words):
        self.to = tuple(map(int, words[:3]))
        numbers = np.array(words[3:], float)
        self.step, self.start = numbers[:9].reshape(3, 3), numbers[9:]
        self.straight = np.abs(self.step - np.diag(np.diag(self.step))).max() < 1e-9

    def taps(self, axis, source):
        at = np.clip(self.step[axis, axis] * np.arange(self.to[axis]) + self.start[axis], 0, source - 1)
        low = np.minimum((at + 1e-6).astype(int), source - 2)
        return low, np.maximum(at - low, 0).astype(np.float32)


def numpy(volume, case):
    """Separable, slice by slice, so that the intermediate results stay in the cache."""
    (k, wk), (j, wj), (i, wi) = (case.taps(axis, n) for axis, n in enumerate(volume.shape))
    out = np.empty(case.to, np.float16)
    wj = wj[:, None]
    for n, (low, weight) in enumerate(zip(k, wk)):
        if weight > 1e-6:
            plane = volume[low].astype(np.float32)
            plane += (volume[low + 1] - plane) * weight
        else:
            plane = volume[low].astype(np.float32)
        rows = np.take(plane, j, 0)
        rows += (np.take(plane, j + 1, 0) - rows) * wj
        values = np.take(rows, i, 1)
        values += (np.take(rows, i + 1, 1) - values) * wi
        values *= scale
        values += offset
        out[n] = np.clip(values, 0, 1, out=values)
    return out


def torch_volume(volume, case):
    values = torch.from_numpy(volume)[None, None].float()
    if case.straight:
        values = F.interpolate(values, size=case.to, mode="trilinear", align_corners=False)
    else:
        # affine_grid's coordinates run from -1 to 1 between the outer edges, columns first.
        source, target = np.array(volume.shape), np.array(case.to)
        turn = (2 / source)[:, None] * case.step * (target / 2)
        shift = (2 / source) * (case.step @ (target / 2 - 0.5) + case.start + 0.5) - 1
        theta = np.concatenate([turn[::-1, ::-1], shift[::-1, None]], 1)
        grid = F.affine_grid(torch.tensor(theta[None], dtype=torch.float32), (1, 1, *case.to), align_corners=False)
        values = F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values.mul_(scale).add_(offset).clamp_(0, 1).half()


def torch_slices(volume, case):
    """Only where no value lies between two slices: each slice on its own, which spares torch the slow third dimension."""
    out = torch.empty(case.to, dtype=torch.float16)
    source = torch.from_numpy(volume)
    for n in range(case.to[0]):
        plane = source[n : n + 1].float()[None]
        plane = F.interpolate(plane, size=case.to[1:], mode="bilinear", align_corners=False)
        out[n] = plane[0, 0].mul_(scale).add_(offset).clamp_(0, 1)
    return out


def scipy(volume, case):
    values = ndimage.affine_transform(
        volume, case.step, case.start, case.to, output=np.float32, order=1, mode="nearest"
    )
    values *= scale
    values += offset
    return np.clip(values, 0, 1, out=values).astype(np.float16)


PEERS = {"numpy": numpy, "torch": torch_volume, "torch-slices": torch_slices, "scipy": scipy}


def peers(volume, case):
    names = ["numpy"] if case.straight else ["scipy"]
    if torch:
        names.append("torch")
    if torch and case.straight and case.to[0] == volume.shape[0]:
        names.append("torch-slices")
    return names


def reference(volume, case):
    """scipy's values; 0 beyond the volume; NaN on its very edge, where the last bit decides."""
    values = scipy(volume, case)
    j, i = np.indices(case.to[1:])
    for k in range(case.to[0]):
        distance = np.full(case.to[1:], np.inf)
        for axis, n in enumerate(volume.shape):
            place = case.step[axis, 0] * k + case.step[axis, 1] * j + case.step[axis, 2] * i + case.start[axis]
            distance = np.minimum(distance, np.minimum(place + 0.5, n - 0.5 - place))
        values[k][distance < -1e-4] = 0
        values[k][(np.abs(distance) <= 1e-4) & (not case.straight)] = np.nan
    return values


cases = {}
for line in sys.stdin:
    verb, *words = line.split()
    if verb == "volume":
        volume = np.fromfile(words[0], np.int16).reshape(tuple(map(int, words[1:])))
    elif verb == "window":
        scale, offset = map(np.float32, words)
    elif verb == "case":
        cases[words[0]] = Case(words[1:])
        print("peers", *peers(volume, cases[words[0]]), flush=True)
    elif verb == "run":
        case, peer = cases[words[0]], PEERS[words[1]]
        wall, cpu = time.perf_counter(), time.thread_time()
        peer(volume, case)
        print("took", time.perf_counter() - wall, time.thread_time() - cpu, flush=True)
    elif verb == "check":
        reference(volume, cases[words[0]]).tofile(words[1])
        print("checked", flush=True)
