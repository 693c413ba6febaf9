"""The paper's equations, one point, one view, one ray at a time, in float64. Slow and plain."""

import math

import numpy as np


def project(point, fx, fy, cx, cy, cam_T_world):
    """Pixel, point in the camera's axes."""
    local = cam_T_world[:3, :3] @ point + cam_T_world[:3, 3]
    return (local[0] / local[2] * fx + cx, local[1] / local[2] * fy + cy), local


def bilinear(image, pixel, stride):
    """Image (h, w, D) of cells of `stride` pixels, at a pixel (u, v) of the full image."""
    height, width = image.shape[:2]
    x = min(max((pixel[0] - (stride - 1) / 2) / stride, 0), width - 1)
    y = min(max((pixel[1] - (stride - 1) / 2) / stride, 0), height - 1)
    j, i = min(int(x), width - 1), min(int(y), height - 1)
    right, down = min(j + 1, width - 1), min(i + 1, height - 1)
    fx, fy = x - j, y - i
    top = (1 - fx) * image[i, j] + fx * image[i, right]
    bottom = (1 - fx) * image[down, j] + fx * image[down, right]
    return (1 - fy) * top + fy * bottom


def mean_and_variance(rows):
    """Eq. 1a of a list of feature vectors; zeros of an empty one."""
    mean = sum(rows) / len(rows)
    return mean, sum((row - mean) ** 2 for row in rows) / len(rows)


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def linear(layer, x):
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()
    return layer.weight.detach().numpy() @ x + bias


def score(network, feature, mean, variance, encoding, displacement, statistics, count, repeats=0.0):
    """Eq. 3: v_i of one view and one point, with the weights of a `VotingNetwork`."""
    hidden = elu(linear(network.feature, feature) + linear(network.consistency, np.concatenate([mean, variance])))
    summary = elu(linear(network.summary, hidden))
    near = [*(displacement / 4), math.log(np.linalg.norm(displacement) + 0.1) / 2]
    view = np.concatenate([summary, near, statistics, [math.log1p(count) / 3, math.log1p(repeats) / 3]])
    x = elu(linear(network.view, view) + linear(network.place, encoding))
    return network.options.bound * math.tanh(linear(network.last, elu(linear(network.middle, x)))[0])


def soft_vote(probabilities, scores):
    """Eq. 4 of the views that see the point."""
    total = sum(math.exp(v) for v in scores)
    return sum(math.exp(v) * p for v, p in zip(scores, probabilities)) / total


def statistics(p, others):
    """What `STATISTICS` lists, of one distribution beside the mean of the others."""
    first, second = sorted(p)[-1], sorted(p)[-2] if len(p) > 1 else 0.0
    q = p / p.sum()
    entropy = -sum(x * math.log(x) for x in q if x > 0)
    has = others.max() > 0
    cosine = p @ others / (np.linalg.norm(p) * np.linalg.norm(others)) if has else 0.0
    return np.array(
        [
            first,
            first - second,
            math.exp(-entropy),
            1 - p.sum(),
            cosine,
            np.minimum(p, others).sum(),
            others[p.argmax()],
            p[others.argmax()] if has else 0.0,
            others.max(),
            float(has),
        ]
    )


def density_weights(sigma):
    """Eq. 7."""
    return [math.exp(-sum(sigma[:m])) * (1 - math.exp(-sigma[m])) for m in range(len(sigma))]


def sdf_weights(sigma, depth, tr):
    """Eq. 8 and 9."""
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    beyond, front = math.inf, False
    for s, d in zip(sigma, depth):
        front = front or s > 0
        if front and s < 0:
            beyond = d + tr
            break
    raw = [sigmoid(s / tr) * sigmoid(-s / tr) * (d <= beyond) for s, d in zip(sigma, depth)]
    return [w / sum(raw) for w in raw]


def occluded(signs):
    """Whether signs along a ray go + -> - -> + in this order."""
    stage = 0
    for sign in signs:
        if (stage, sign) in ((0, 1), (1, -1)):
            stage += 1
        elif (stage, sign) == (2, 1):
            return True
    return False
