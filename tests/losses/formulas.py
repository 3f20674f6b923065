"""The losses as their papers and the lecture write them, in double precision, one number at a time where that is clearest."""

import numpy as np

VOID = 255


def one_hot(labels, classes):
    """One-hot encoding, which leaves nothing of VOID."""
    return (np.asarray(labels)[..., None] == np.arange(classes)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def ce(p, q):
    return -(p * np.log(q) + (1 - p) * np.log(1 - q))


def wce(p, q, beta):
    return -(beta * p * np.log(q) + (1 - p) * np.log(1 - q))


def bce(p, q, beta):
    return -(beta * p * np.log(q) + (1 - beta) * (1 - p) * np.log(1 - q))


def fl(p, q, alpha, gamma):
    return -(alpha * (1 - q) ** gamma * p * np.log(q) + (1 - alpha) * q**gamma * (1 - p) * np.log(1 - q))


def dl(p, q, smoothing=1.0, squared=False):
    sizes = (p * p).sum() + (q * q).sum() if squared else p.sum() + q.sum()
    return 1 - (2 * (p * q).sum() + smoothing) / (sizes + smoothing)


def ti(p, q, beta, alpha=None):
    alpha = 1 - beta if alpha is None else alpha
    hits = (p * q).sum()
    return hits / (hits + beta * ((1 - p) * q).sum() + alpha * (p * (1 - q)).sum())


def iou(p, q, smoothing=0.0):
    hits = (p * q).sum()
    return (hits + smoothing) / (p.sum() + q.sum() - hits + smoothing)


def jaccard_of_set(wrong, foreground):
    """The Jaccard loss of predicting the labels with the pixels of a set wrong: 1 - |P n L| / |P u L|."""
    predicted = foreground ^ wrong
    union = (predicted | foreground).sum()
    return 1 - (predicted & foreground).sum() / union if union else 0.0


def lovasz_extension(errors, foreground):
    """The definition (Berman et al., equation 6): sort errors downwards, and pay each the rise of the set function."""
    wrong, previous, value = np.zeros(len(errors), bool), 0.0, 0.0
    for i in np.argsort(-errors, kind="stable"):
        wrong[i] = True
        current = jaccard_of_set(wrong, foreground)
        value += errors[i] * (current - previous)
        previous = current
    return value
