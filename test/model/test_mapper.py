"""The mapper on a procedural room, whose geometry and labels are known exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from gnesf_model.config import Config, InputConfig, KeyframeConfig, SemanticsConfig, VolumeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.evaluation.labelled_points import nearest_labels
from gnesf_model.evaluation.mapping_run import map_scores, run_mapping
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.volume.block_grid import OutOfReach
from gnesf_model.volume.surface import surface_points

SPACE = LabelSpace.load("scannet20")
CONFIG = Config(device="cpu")


class Oracle(OracleSegmenter):
    """Knows the labels of the frames it was shown."""

    def __init__(self, frames, target=None):
        self.images = {frame.stamp_ns: frame.labels for frame in frames}
        super().__init__(self.images.__getitem__, SPACE, target)


@pytest.fixture(scope="module")
def room():
    return RoomSource(1, frames=60, stride=6)


@pytest.fixture(scope="module")
def frames(room):
    return list(room)


@pytest.fixture(scope="module")
def mapped(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    updates = [mapper.integrate(frame) for frame in frames]
    return mapper, updates


def state(mapper):
    grid, votes = mapper.grid, mapper.votes
    rows = torch.arange(votes.count)
    return [
        grid.coords[: grid.count],
        *(grid.voxels[name][: grid.count] for name in ("tsdf", "weight", "row")),
        votes.distribution(rows),
        votes.total(rows),
        votes.color(rows),
    ]


def test_surface_lies_on_the_room(room, mapped):
    mapper, _ = mapped
    points = torch.from_numpy(mapper.surface().points)
    distance = room.scene.sdf(points).abs()
    voxel = mapper.grid.voxel_size_m
    assert len(points) > 10_000
    assert distance.median() < 0.1 * voxel
    assert distance.quantile(0.95) < 0.5 * voxel


def test_tsdf_near_the_surface_is_the_analytic_distance(room, mapped):
    mapper, _ = mapped
    grid = mapper.grid
    slots = torch.arange(grid.count)
    tsdf, weight = grid.voxels["tsdf"][slots], grid.voxels["weight"][slots]
    near = (tsdf.abs() * mapper.truncation_m < grid.voxel_size_m) & (weight >= 5)
    truth = room.scene.sdf(grid.centres(slots)[near])
    measured = tsdf[near] * mapper.truncation_m
    # Distances along the optical axis are never shorter than the distance to the surface.
    error = (measured - truth).abs()
    assert near.sum() > 10_000
    assert error.median() < 0.15 * grid.voxel_size_m
    assert error.quantile(0.9) < 0.5 * grid.voxel_size_m
    assert ((measured > 0) == (truth > 0)).float().mean() > 0.97


def test_rendered_depth_is_within_half_a_voxel(frames, mapped):
    mapper, _ = mapped
    voxel = CONFIG.volume.voxel_size_m
    everywhere, inside = [], []
    for frame in frames[5::18]:
        view = mapper.render(frame.camera, frame.world_T_cam)
        truth = np.where(frame.depth <= CONFIG.volume.max_depth_m, frame.depth, 0)
        both = (view.depth > 0) & (truth > 0)
        assert both.sum() > 0.9 * (truth > 0).sum()
        error = np.abs(view.depth - truth)
        # Where an object ends within three pixels, a voxel holds both sides of its outline.
        window = np.ones((7, 7), np.uint8)
        outline = cv2.dilate(frame.depth, window) - cv2.erode(frame.depth, window) > 3 * voxel
        everywhere.append(error[both])
        inside.append(error[both & ~outline])
    everywhere, inside = np.concatenate(everywhere), np.concatenate(inside)
    assert (everywhere < 0.5 * voxel).mean() > 0.93
    assert (inside < 0.5 * voxel).mean() > 0.97
    assert np.median(inside) < 0.05 * voxel


def test_oracle_labels_come_back_in_3d(room, frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    run = run_mapping(room, mapper)
    scores = map_scores(room, mapper, run, mapper.surface())
    assert run.frames == 60 and not run.dropped
    assert 5 < run.keyframes <= 60
    assert scores["2d"]["per_frame"]["pixel_accuracy"] > 0.98
    # At 4 cm even the exact class of every surface point scores 0.95 to 0.97: see docs/evaluation.md.
    assert scores["3d"]["miou"] > 0.91
    assert scores["3d"]["coverage"] > 0.97
    assert scores["2d"]["map"]["miou"] > 0.91
    assert scores["3d"]["n"] > 5_000


@pytest.mark.slow
def test_oracle_labels_come_back_in_3d_at_fine_voxels():
    """With voxels small against furniture and every view voting, next to nothing is lost."""
    room = RoomSource(1, frames=60, stride=6, width=640, height=480, max_depth_m=5.0, shading=False)
    frames = list(room)
    config = Config(
        device="cpu",
        volume=VolumeConfig(voxel_size_m=0.02, min_weight=0.5),
        keyframes=KeyframeConfig(min_translation_m=0.0),
    )
    mapper = SemanticMapper(config, Oracle(frames))
    run = run_mapping(frames_of(room, frames), mapper)
    truth = run.truth.points()
    surface = mapper.surface()
    found = Confusion(SPACE)
    found.add(truth[1], nearest_labels(truth[0], surface.points, surface.labels, 0.04))
    scores = found.scores()
    assert scores["miou"] > 0.97
    assert scores["coverage"] > 0.99


def frames_of(room, frames):
    """The rendered frames as a source, so that they are not rendered twice."""

    class Rendered(list):
        drops, label_space, last_message = room.drops, room.label_space, room.last_message

    return Rendered(frames)


def test_the_same_frames_give_the_same_map(frames, mapped):
    again = SemanticMapper(CONFIG, Oracle(frames))
    for frame in frames:
        again.integrate(frame)
    for a, b in zip(state(mapped[0]), state(again), strict=True):
        assert torch.equal(a, b)


def test_every_keyframe_votes_once_and_other_frames_never(frames, mapped):
    mapper, updates = mapped
    keyframes = [u.keyframe for u in updates if u.keyframe is not None]
    assert [k.index for k in keyframes] == list(range(len(keyframes)))
    total = mapper.votes.total(torch.arange(mapper.votes.count))
    assert torch.equal(total, total.round())
    assert total.max() <= len(keyframes)
    # Where later views found free space, nothing is left of what earlier ones said.
    free = (total == 0).nonzero()[:, 0]
    assert len(free) < 0.02 * len(total)
    at_surface = surface_points(mapper.grid, torch.arange(mapper.grid.count), CONFIG.volume.min_weight).rows
    assert not torch.isin(free, at_surface).any()
    assert all("vote" in u.stages for u in updates if u.keyframe is not None)
    assert not any("vote" in u.stages for u in updates if u.keyframe is None)


def test_standing_still_changes_neither_memory_nor_labels(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    for frame in frames[:10]:
        mapper.integrate(frame)
    for _ in range(80):  # until the weights are capped
        mapper.integrate(frames[9])
    votes = mapper.votes
    before = mapper.memory_bytes, mapper.grid.count, votes.count
    labels = votes.labels(torch.arange(votes.count))[0]
    tsdf = mapper.grid.voxels["tsdf"][: mapper.grid.count].clone()
    for _ in range(100):
        assert mapper.integrate(frames[9]).keyframe is None
    assert (mapper.memory_bytes, mapper.grid.count, votes.count) == before
    assert torch.equal(votes.labels(torch.arange(votes.count))[0], labels)
    # Voxels behind the band's full weight are still approaching the average; the surface stands.
    change = (mapper.grid.voxels["tsdf"][: mapper.grid.count] - tsdf).abs()
    assert change[tsdf.abs() < 0.25].quantile(0.99) < 0.05


def test_only_what_moves_stays_out_of_the_map(frames):
    class Crowd(Oracle):
        """Sees people in the left half of every image."""

        def __call__(self, rgb, stamp_ns=None):
            seen = super().__call__(rgb, stamp_ns)
            dynamic = torch.zeros_like(seen.dynamic)
            dynamic[:, : dynamic.shape[1] // 2] = 1.0
            return Segmentation(seen.probabilities, dynamic, seen.labels)

    frame = frames[0]
    mapper = SemanticMapper(CONFIG, Crowd(frames))
    mapper.integrate(frame)
    grid = mapper.grid
    slots = torch.arange(grid.count)
    points = grid.centres(slots)[grid.voxels["weight"][slots] > 0].double().numpy()
    cam_T_world = np.linalg.inv(frame.world_T_cam)
    seen = points @ cam_T_world[:3, :3].T + cam_T_world[:3, 3]
    u = seen[:, 0] / seen[:, 2] * frame.camera.fx + frame.camera.cx
    assert len(points) > 1000
    assert u.min() > frame.camera.width // 2 - 1


def test_a_frame_without_depth_or_with_a_failing_network_is_dropped_and_harms_nothing(frames):
    class Failing(Oracle):
        broken: type[Exception] | None = None

        def __call__(self, rgb, stamp_ns=None):
            if self.broken:
                raise self.broken("out of luck")
            return super().__call__(rgb, stamp_ns)

    segmenter = Failing(frames)
    mapper = SemanticMapper(CONFIG, segmenter)
    mapper.integrate(frames[0])
    before = [t.clone() for t in state(mapper)]
    with pytest.raises(FrameDropped, match="no depth image") as drop:
        mapper.integrate(replace(frames[1], depth=None))
    assert drop.value.reason == "no_depth"
    for broken in (RuntimeError, KeyError, TypeError, AttributeError):  # a network of a user's fails as it likes
        segmenter.broken = broken
        with pytest.raises(FrameDropped, match=f"{broken.__name__}.*out of luck") as drop:
            mapper.integrate(frames[1])
        assert drop.value.reason == "segmenter"
    for a, b in zip(before, state(mapper), strict=True):
        assert torch.equal(a, b)
    segmenter.broken = None
    assert set(mapper.integrate(frames[1]).stages) >= {"segment", "tsdf_allocate", "tsdf_integrate"}


def test_a_map_out_of_memory_refuses_frames_and_keeps_what_it_has(frames):
    mapper = SemanticMapper(Config(volume=VolumeConfig(max_map_memory_mb=16, voxel_size_m=0.03)), Oracle(frames))
    reasons = []
    for frame in frames:
        try:
            mapper.integrate(frame)
        except FrameDropped as drop:
            reasons.append(drop.reason)
            assert "max_map_memory_mb" in str(drop)
    assert reasons and set(reasons) == {"map_full"}
    assert mapper.memory_bytes <= 16e6
    assert len(mapper.surface().points) > 1000


def test_a_frame_whose_votes_do_not_fit_tells_what_its_geometry_changed(frames):
    """Outputs that follow the map would keep what was there before, else."""
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    mapper.votes.max_rows = 10
    with pytest.raises(FrameDropped) as drop:
        mapper.integrate(frames[0])
    assert drop.value.reason == "map_full"
    assert drop.value.blocks.tolist() == list(range(mapper.grid.count))
    assert float((mapper.grid.voxels["weight"][drop.value.blocks] > 0).any(dim=1).float().mean()) > 0.5
    mapper.grid.max_blocks = mapper.grid.count
    with pytest.raises(FrameDropped) as drop:
        mapper.integrate(frames[-1])
    assert drop.value.reason == "map_full"
    assert drop.value.blocks is None, "its geometry did not fit either"


def test_a_pose_from_another_planet_is_dropped(frames):
    pose = np.eye(4)
    pose[0, 3] = 1e9
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    with pytest.raises(FrameDropped, match="km from the map's origin") as drop:
        mapper.integrate(replace(frames[0], world_T_cam=pose))
    assert drop.value.reason == "out_of_range"
    assert mapper.grid.count == 0


def test_probabilities_are_sampled_where_the_pixel_is():
    """A network that reports the column of each pixel must find it again at the voxels' pixels."""

    class Ramp:
        labels = SPACE

        def __call__(self, rgb, stamp_ns=None):
            height, width = rgb.shape[0] // 4, rgb.shape[1] // 4
            column = (torch.arange(width) * 4 + 1.5) / rgb.shape[1]
            p = torch.zeros(20, height, width)
            p[0] = column
            return Segmentation(p, torch.zeros(height, width), SPACE)

    frame = next(iter(RoomSource(2, frames=1)))
    flat = replace(frame, depth=np.full_like(frame.depth, 2.0), world_T_cam=np.eye(4))
    mapper = SemanticMapper(CONFIG, Ramp())
    mapper.integrate(flat)
    grid = mapper.grid
    slots = torch.arange(grid.count)
    row = grid.voxels["row"][slots]
    centres = grid.centres(slots)[row >= 0]
    u = centres[:, 0] / centres[:, 2] * frame.camera.fx + frame.camera.cx
    inside = (u > 3) & (u < frame.camera.width - 4)
    share = mapper.votes.distribution(row[row >= 0].long())[:, 0]
    assert (share * frame.camera.width - u)[inside].abs().max() < 0.05


def test_reset_empties_the_map(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    mapper.integrate(frames[0])
    mapper.reset()
    assert len(mapper.surface().points) == 0
    assert mapper.votes.count == mapper.grid.count == mapper.keyframes.count == 0
    assert mapper.integrate(frames[0]).keyframe.index == 0


def jumped(frames):
    """Three frames before a pose jump, and three after."""
    return [replace(frame, pose_jumps=int(i > 2)) for i, frame in enumerate(frames[:6])]


@pytest.mark.parametrize("reaction", ["warn", "pause", "reset"])
def test_a_pose_jump_does_to_the_map_what_the_configuration_says(frames, reaction):
    config = Config.from_flat({"device": "cpu", "input.on_pose_jump": reaction})
    mapper = SemanticMapper(config, Oracle(frames))
    counts, dropped, generations = [], [], []
    for frame in jumped(frames):
        try:
            mapper.integrate(frame)
        except FrameDropped as drop:
            dropped.append(drop.reason)
        generations.append(mapper.grid.generation)
        counts.append(mapper.frames)
    assert counts == {"warn": [1, 2, 3, 4, 5, 6], "pause": [1, 2, 3, 3, 3, 3], "reset": [1, 2, 3, 1, 2, 3]}[reaction]
    assert dropped == (["paused"] * 3 if reaction == "pause" else [])
    assert mapper.jumps.count == 1
    assert len(set(generations)) == (2 if reaction == "reset" else 1)
    if reaction == "reset":
        fresh = SemanticMapper(config, Oracle(frames))
        for frame in frames[3:6]:
            fresh.integrate(frame)
        np.testing.assert_array_equal(mapper.surface().points, fresh.surface().points)


def test_a_map_that_a_jump_paused_goes_on_when_told(frames):
    config = Config.from_flat({"device": "cpu", "input.on_pose_jump": "pause"})
    mapper = SemanticMapper(config, Oracle(frames))
    before, *_, after = jumped(frames)
    mapper.integrate(before)
    with pytest.raises(FrameDropped, match="~/resume"):
        mapper.integrate(after)
    mapper.jumps.resume()
    mapper.integrate(after)
    assert mapper.frames == 2
    mapper.integrate(replace(after, pose_jumps=0))  # another recording begins
    mapper.integrate(replace(after, pose_jumps=0))
    assert mapper.frames == 4


def test_a_jump_that_all_cameras_see_is_one(frames):
    config = Config.from_flat({"device": "cpu", "input.on_pose_jump": "reset"})
    mapper = SemanticMapper(config, Oracle(frames))
    for name, jumps in (("front", 0), ("rear", 0), ("front", 1), ("rear", 1), ("front", 1)):
        mapper.integrate(replace(frames[0], source=name, pose_jumps=jumps))
    assert mapper.frames == 3


def test_a_jump_empties_the_map_even_if_its_frame_is_dropped(frames):
    config = Config.from_flat({"device": "cpu", "input.on_pose_jump": "reset"})
    mapper = SemanticMapper(config, Oracle(frames))
    before, *_, after = jumped(frames)
    mapper.integrate(before)
    generation = mapper.grid.generation
    with pytest.raises(FrameDropped):
        mapper.integrate(replace(after, depth=np.zeros_like(after.depth)))
    assert mapper.frames == mapper.grid.count == 0
    assert mapper.grid.generation != generation


def test_jumps_of_new_inputs_are_counted_from_zero(frames):
    config = Config.from_flat({"device": "cpu", "input.on_pose_jump": "reset"})
    mapper = SemanticMapper(config, Oracle(frames))
    for jumps in (0, 1, 2):
        mapper.integrate(replace(frames[0], pose_jumps=jumps))
    assert mapper.frames == 1
    mapper.jumps.forget()
    mapper.integrate(replace(frames[0], pose_jumps=0))
    assert mapper.frames == 2
    mapper.integrate(replace(frames[0], pose_jumps=1))
    assert mapper.frames == 1


def test_a_frame_that_turns_fast_is_mapped_and_does_not_vote(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    update = mapper.integrate(replace(frames[0], angular_rate_deg_s=200.0))
    assert update.keyframe is None
    assert mapper.frames == mapper.keyframes.too_fast == 1
    assert mapper.grid.count > 0
    assert mapper.votes.count == 0


def test_a_map_of_nothing_has_an_empty_surface_and_mesh(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    assert mapper.surface().points.shape == (0, 3)
    assert mapper.mesh().faces.shape == (0, 3)
    view = mapper.render(frames[0].camera, np.eye(4))
    assert (view.labels == 255).all() and (view.depth == 0).all()


@pytest.mark.parametrize("classes", [3, 150])
def test_any_label_space_maps(frames, classes):
    space = LabelSpace.from_names([f"thing {i}" for i in range(classes)])

    class Tail:
        labels = space

        def __call__(self, rgb, stamp_ns=None):
            p = torch.zeros(classes, rgb.shape[0] // 4, rgb.shape[1] // 4)
            p[-1] = 0.7
            p[0] = 0.2
            return Segmentation(p, torch.zeros(p.shape[1:]), space)

    mapper = SemanticMapper(replace(CONFIG, keyframes=KeyframeConfig(min_translation_m=0)), Tail())
    for frame in frames[:3]:
        mapper.integrate(frame)
    surface = mapper.surface()
    voted = surface.labels != 255
    assert voted.mean() > 0.85  # three views: not all of the surface was in one that voted
    assert set(surface.labels[voted]) == {classes - 1}
    assert np.allclose(surface.confidence[voted], 0.7, atol=1e-4)


def test_frames_of_the_same_size_need_no_more_than_the_config(frames):
    """Odd image sizes leave a partial last cell; nothing may be read beyond it."""
    frame = frames[0]
    camera = replace(frame.camera, width=317, height=239)
    odd = Frame(
        frame.stamp_ns, frame.rgb[:239, :317].copy(), camera, frame.world_T_cam,
        frame.depth[:239, :317].copy(), frame.labels[:239, :317].copy(),
    )  # fmt: skip
    mapper = SemanticMapper(replace(CONFIG, semantics=SemanticsConfig(band_vox=2.0)), Oracle([odd]))
    update = mapper.integrate(odd)
    assert update.keyframe is not None
    assert mapper.votes.count > 1000


def test_a_view_in_which_nothing_is_measured_is_dropped_by_name(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    covered = replace(frames[0], depth=np.zeros_like(frames[0].depth))
    millimetres = replace(frames[0], depth=frames[0].depth * 1000)
    for first in (True, False):
        # On an empty map alone: what is measured beyond the range says that the space before it is free.
        far = [(millimetres, "input.depth_unit_m")] if first else []
        for frame, text in ((covered, "0 pixels are measured"), *far):
            with pytest.raises(FrameDropped, match=text) as drop:
                mapper.integrate(frame)
            assert drop.value.reason == "no_depth"
            assert drop.value.segmentation is not None, "the node still publishes what the segmenter sees"
        if first:
            assert mapper.grid.count == mapper.frames == 0
            mapper.integrate(frames[1])
            before = [t.clone() for t in state(mapper)]
    assert mapper.frames == 1
    for a, b in zip(before, state(mapper), strict=True):
        assert torch.equal(a, b)


@pytest.mark.gpu
def test_cpu_and_cuda_give_the_same_map(frames):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    clouds = []
    for device in ("cpu", "cuda"):
        mapper = SemanticMapper(replace(CONFIG, device=device), Oracle(frames))
        for frame in frames[:20]:
            mapper.integrate(frame)
        clouds.append(mapper.surface())
    near = nearest_labels(clouds[0].points, clouds[1].points, clouds[1].labels, 1e-3)
    assert abs(len(clouds[0].points) - len(clouds[1].points)) < 0.01 * len(clouds[0].points)
    assert (near == clouds[0].labels).mean() > 0.99


def test_settings_that_may_change_take_effect_with_the_next_frame(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    mapper.integrate(frames[0])
    still = replace(frames[0], stamp_ns=frames[1].stamp_ns)
    mapper.segmenter.images[still.stamp_ns] = still.labels
    assert mapper.integrate(still).keyframe is None
    eager = KeyframeConfig(min_translation_m=0.0, min_rotation_deg=0.0)
    near = replace(CONFIG.volume, max_depth_m=1.0)
    mapper.adjust(replace(CONFIG, keyframes=eager, volume=near))
    blocks = mapper.grid.count
    assert mapper.integrate(still).keyframe is not None
    with pytest.raises(FrameDropped, match="between 0.1 and 0.2 m"):
        mapper.adjust(replace(CONFIG, keyframes=eager, volume=replace(CONFIG.volume, max_depth_m=0.2)))
        mapper.integrate(still)
    assert mapper.grid.count == blocks


def test_another_answer_to_pose_jumps_takes_effect_with_the_next_one(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    jumped = [replace(frame, pose_jumps=n) for n, frame in enumerate(frames[:4])]
    for frame in jumped[:2]:
        mapper.integrate(frame)
    assert mapper.frames == 2 and mapper.jumps.count == 1, "warn goes on"
    mapper.adjust(replace(CONFIG, input=InputConfig(on_pose_jump="reset")))
    mapper.integrate(jumped[2])
    assert mapper.frames == 1
    mapper.adjust(replace(CONFIG, input=InputConfig(on_pose_jump="pause")))
    with pytest.raises(FrameDropped, match="call ~/resume"):
        mapper.integrate(jumped[3])


def test_another_rate_of_turning_takes_effect_with_the_next_frame(frames):
    turning = [replace(frame, angular_rate_deg_s=30.0) for frame in frames]
    mapper = SemanticMapper(replace(CONFIG, keyframes=KeyframeConfig(min_translation_m=0.0)), Oracle(frames))
    assert mapper.integrate(turning[0]).keyframe is not None
    mapper.adjust(replace(CONFIG, keyframes=KeyframeConfig(min_translation_m=0.0, max_angular_rate_deg_s=20.0)))
    assert mapper.integrate(turning[1]).keyframe is None
    assert mapper.frames == 2 and mapper.keyframes.too_fast == 1, "its depth is mapped"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("volume.voxel_size_m", 0.1),
        ("volume.max_map_memory_mb", 100.0),
        ("keyframes.window", 5),
        ("predicted_depth.side_px", 256),
        ("semantics.field_side_px", 80),
    ],
)
def test_settings_that_shape_the_map_cannot_change(frames, name, value):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    with pytest.raises(ValueError, match=f"{name} cannot change while there is a map"):
        mapper.adjust(Config.from_flat({**CONFIG.to_flat(), name: value}))
    assert mapper.config == CONFIG


def test_a_view_from_beyond_every_map_is_refused(frames):
    mapper = SemanticMapper(CONFIG, Oracle(frames))
    mapper.integrate(frames[0])
    pose = frames[0].world_T_cam.copy()
    pose[0, 3] = 1e5
    assert not mapper.render(frames[0].camera, pose).depth.any()
    for far in (1e30, np.nan):
        pose[0, 3] = far
        with pytest.raises(OutOfReach, match="expected within 335544 m of the origin"):
            mapper.render(frames[0].camera, pose)
