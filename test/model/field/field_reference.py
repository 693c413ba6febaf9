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


def network(layers, x):
    """Linear, ELU, linear to one number."""
    return linear(layers[-1], elu(linear(layers[0], np.array(x))))[0]


def affinity(spatial, patch, distributions, k, j):
    """How much point k of a patch listens to its neighbour j, by a `SpatialVoting`."""
    step = (patch.points[j] - patch.points[k]).numpy() / spatial.options.radius_m
    normals = patch.normals[k].numpy(), patch.normals[j].numpy()
    plane = sum(abs(step @ normal) for normal in normals)
    cosine = normals[0] @ normals[1] if all(normal.any() for normal in normals) else 1.0
    apart = (patch.colors[j] - patch.colors[k]).numpy()
    light = apart.mean()
    hue = np.linalg.norm(apart - light)
    distance, color = np.linalg.norm(step), hue + 0.3 * abs(light)
    off, turn, other = plane / 2 / 0.25, (1 - max(cosine, 0)) / 0.3, color / 0.3
    geometric = math.exp(-2 * distance**2 - off**2 - turn**2 - other**2)
    if spatial.pair is None:
        return geometric
    overlap = sum(min(a, b) for a, b in zip(distributions[k], distributions[j]))
    reduced = [linear(spatial.reduce, patch.encoding[i].numpy()) for i in (k, j)]
    told = [distance, plane / 2, max(cosine, 0), cosine, color, light, hue, max(distributions[j]), overlap]
    return geometric * math.exp(3 * math.tanh(network(spatial.pair, [*told, *abs(reduced[0] - reduced[1])])))


def spatial_round(spatial, patch, distributions, neighbours, votes):
    """One round of votes between neighbours: s(x) moves towards their mean by a share, the more it is in doubt."""
    options, after = spatial.options, []
    for k, own in enumerate(distributions):
        near = [j for j in neighbours[k] if j >= 0]
        affinities = [affinity(spatial, patch, distributions, k, j) for j in near]
        weights = [a * votes[j] / (votes[j] + 1) for a, j in zip(affinities, near)]
        if sum(weights) <= 1e-6:
            after.append(own)
            continue
        mean = sum(w * distributions[j] for w, j in zip(weights, near)) / sum(weights)
        gate = math.log(options.share / (1 - options.share))
        if spatial.gate is not None:
            told = [math.log1p(sum(affinities)), math.log1p(sum(weights)), math.log1p(votes[k]), max(own)]
            gate += network(spatial.gate, told)
        share = min((1 - max(own)) / options.doubt, 1) / (1 + math.exp(-gate)) if votes[k] > 0 else 1.0
        after.append((1 - share) * own + share * mean)
    return np.array(after)


def decision_loss(probabilities, labels, class_weights, sharpness):
    """1 - p(true class) after the power, unknown competing like a class; the mean by the weights of the classes."""
    total = weight = 0.0
    for p, label in zip(probabilities, labels):
        if label < len(p):
            powers = [max(x, 1e-4) ** sharpness for x in (*p, 1 - sum(p))]
            total += class_weights[label] * (1 - powers[label] / sum(powers))
            weight += class_weights[label]
    return total / weight


def importance_depths(depth, weights, wanted):
    """Where the cumulative weight along one ray reaches each of the wanted shares; it rises evenly between edges."""
    edges = [depth[0], *((depth[:-1] + depth[1:]) / 2), depth[-1]]
    total, found = sum(weights), []
    for share in wanted:
        before = 0.0
        for near, far, weight in zip(edges, edges[1:], weights):
            if before + weight > share * total:
                found.append(near + (far - near) * (share * total - before) / weight)
                break
            before += weight
    return found
