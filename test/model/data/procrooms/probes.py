"""Points in and around rooms and their things."""

import numpy as np
import torch

from gnesf_model.data.procrooms.primitives import SDF, Kind
from gnesf_model.data.procrooms.scene import Scene, SceneObject


def random_points(room: Scene, count: int, seed: int) -> torch.Tensor:
    """Points (count, 3) float64 in the world, in the room and a little beyond its walls."""
    rng = np.random.default_rng(seed)
    size = np.asarray(room.room_size)
    local = (rng.random((count, 3)) - (0.5, 0.5, 0.0)) * (size + 0.6) - (0, 0, 0.3)
    return torch.from_numpy(local @ room.world_T_room[:3, :3].T + room.world_T_room[:3, 3])


def part_of(room: Scene, thing: SceneObject) -> Scene:
    return Scene(room.primitives[thing.first : thing.last], [thing], room.materials)


def volume_points(room: Scene, thing: SceneObject, spacing_m: float = np.inf) -> torch.Tensor:
    """Points (N, 3) on a lattice through every primitive of a thing, its surface included.

    There are five of them along each axis, and more where they would be further apart than `spacing_m`.
    """
    points = []
    for p in room.primitives[thing.first : thing.last]:
        extent = np.array([*p.size[:2], p.size[2] + p.size[0] * (p.kind == Kind.CAPSULE)])
        steps = [np.linspace(-e, e, max(5, int(np.ceil(2 * e / spacing_m)) + 1)) for e in extent]
        local = torch.from_numpy(np.stack(np.meshgrid(*steps), -1).reshape(-1, 3))
        inside = SDF[p.kind](local.T[None], torch.tensor([p.size], dtype=torch.float64))[0] <= 1e-9
        points.append(local[inside].numpy() @ p.parent_T_local[:3, :3].T + p.parent_T_local[:3, 3])
    return torch.from_numpy(np.concatenate(points))


def assert_nothing_intersects(room: Scene, spacing_m: float = np.inf, chairs_m: float = 1e-3) -> None:
    """No thing reaches a millimetre into another; floor, walls and ceilings are left out as what is reached into.

    Chairs may reach `chairs_m` into chairs.
    """
    points = [volume_points(room, thing, spacing_m) for thing in room.objects]
    owner = torch.cat([torch.full((len(p),), k) for k, p in enumerate(points)])
    points = torch.cat(points)
    for k, thing in enumerate(room.objects):
        if thing.name in ("floor", "wall", "ceiling"):
            continue
        part = part_of(room, thing)
        own = points[owner == k]
        low, high = own.amin(0) - 0.01, own.amax(0) + 0.01
        near = (owner != k) & ((points > low) & (points < high)).all(1)
        if near.any():
            deepest = part.sdf(points[near])
            names = [room.objects[number].name for number in owner[near].tolist()]
            both = torch.tensor([thing.name == name == "chair" for name in names])
            excess = -deepest - torch.where(both, chairs_m, 1e-3)
            worst = int(excess.argmax())
            assert excess[worst] < 0, f"{names[worst]} reaches {-float(deepest[worst]):.3f} m into {thing.name}"
