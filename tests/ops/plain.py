"""The operations as slow, obvious NumPy, in float64: what the fast ones are held against."""

import numpy as np


def conv(x, kernel, strides=(1, 1), sides=((0, 0), (0, 0)), rate=(1, 1), groups=1):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    kh, kw, i, o = kernel.shape
    rows = (x.shape[1] - rate[0] * (kh - 1) - 1) // strides[0] + 1
    columns = (x.shape[2] - rate[1] * (kw - 1) - 1) // strides[1] + 1
    out = np.zeros((x.shape[0], rows, columns, o))
    for y in range(rows):
        for z in range(columns):
            for p in range(kh):
                for q in range(kw):
                    pixel = x[:, y * strides[0] + p * rate[0], z * strides[1] + q * rate[1]]
                    for n in range(groups):
                        outs = slice(n * o // groups, (n + 1) * o // groups)
                        out[:, y, z, outs] += pixel[:, n * i : (n + 1) * i] @ kernel[p, q, :, outs]
    return out


def conv_transpose(x, kernel, strides, padding, extra):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    (b, h, w, _), (kh, kw, _, o) = x.shape, kernel.shape
    full = np.zeros((b, (h - 1) * strides[0] + kh + extra[0], (w - 1) * strides[1] + kw + extra[1], o))
    for y in range(h):
        for z in range(w):
            patch = np.einsum("bc,pqco->bpqo", x[:, y, z], kernel)
            full[:, y * strides[0] : y * strides[0] + kh, z * strides[1] : z * strides[1] + kw] += patch
    return full[:, padding[0] : full.shape[1] - padding[0], padding[1] : full.shape[2] - padding[1]]


def max_pool(x, window, strides, padding, ceil_mode):
    b, h, w, c = x.shape
    count = []
    for n, k, s, p in zip((h, w), window, strides, padding):
        m = (n + 2 * p - k + (s - 1 if ceil_mode else 0)) // s + 1
        count.append(m - 1 if ceil_mode and (m - 1) * s >= n + p else m)
    values, indices = np.full((b, *count, c), -np.inf), np.zeros((b, *count, c), int)
    for n, y, z, d in np.ndindex(values.shape):
        top, left = y * strides[0] - padding[0], z * strides[1] - padding[1]
        first = True
        for r in range(max(top, 0), min(top + window[0], h)):
            for q in range(max(left, 0), min(left + window[1], w)):
                if first or x[n, r, q, d] > values[n, y, z, d]:
                    values[n, y, z, d], indices[n, y, z, d], first = x[n, r, q, d], r * w + q, False
    return values, indices


def max_unpool(x, indices, size):
    b, _, _, c = x.shape
    out = np.zeros((b, size[0] * size[1], c))
    for n, y, z, d in np.ndindex(x.shape):
        out[n, indices[n, y, z, d], d] = x[n, y, z, d]
    return out.reshape(b, *size, c)


def resize(x, size, method, align_corners):
    x = np.asarray(x, np.float64)
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for y in range(size[0]):
        for z in range(size[1]):
            for weight, r, q in _corners((y, z), x.shape[1:3], size, method, align_corners):
                out[:, y, z] += weight * x[:, r, q]
    return out


def _corners(at, old, new, method, align_corners):
    pairs = []
    for t, n, m in zip(at, old, new):
        if method == "nearest":
            pairs.append([(1.0, t * n // m)])
            continue
        source = t * (n - 1) / max(m - 1, 1) if align_corners else (t + 0.5) * n / m - 0.5
        source = min(max(source, 0), n - 1)
        low = int(np.floor(source))
        pairs.append([(1 - (source - low), low), (source - low, min(low + 1, n - 1))])
    return [(a * b, r, q) for a, r in pairs[0] for b, q in pairs[1]]


def adaptive_avg_pool(x, size):
    x = np.asarray(x, np.float64)
    h, w = x.shape[1:3]
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for y in range(size[0]):
        for z in range(size[1]):
            rows = slice(y * h // size[0], int(np.ceil((y + 1) * h / size[0])))
            columns = slice(z * w // size[1], int(np.ceil((z + 1) * w / size[1])))
            out[:, y, z] = x[:, rows, columns].mean((1, 2))
    return out
