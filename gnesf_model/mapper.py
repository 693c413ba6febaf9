"""The semantic mapper: frames in, a labelled surface out.

`SemanticMapper.integrate` is the only way into the map but for `replace`, which takes a whole one. They read no
topic, no file and no clock, so the same frames give the same map live and offline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from gnesf_model.config import ADJUSTABLE, Config
from gnesf_model.device import single_thread, torch_device
from gnesf_model.field.spatial_voting import SpatialVoting
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.frame import Camera, Frame, FrameDropped
from gnesf_model.fusion import UniformFusion, ViewFusion, ViewSamples
from gnesf_model.geometry import invert, project, transform
from gnesf_model.keyframes import Keyframe, KeyframeSelector
from gnesf_model.labels import LabelSpace
from gnesf_model.pose_jumps import PoseJumpResponse
from gnesf_model.sampling import inside_image, nearest_pixels, sample_beside_edges, seen_from_color
from gnesf_model.segment.pixels import moving_pixels
from gnesf_model.segment.segmenter import Segmentation, Segmenter, grid_size
from gnesf_model.surface_classes import SurfaceClasses
from gnesf_model.timing import StageTimer
from gnesf_model.volume.block_grid import SIDE_VOX, BlockGrid
from gnesf_model.volume.changes import with_neighbours
from gnesf_model.volume.limits import MapFull, OutOfReach
from gnesf_model.volume.map_disk import MapDisk
from gnesf_model.volume.planes import STEEP
from gnesf_model.volume.raycast import raycast
from gnesf_model.volume.surface import at_surface, surface_mesh, surface_points
from gnesf_model.volume.tsdf import Band, DepthView, Observation, TsdfVolume, in_range
from gnesf_model.volume.votes import VoteTable

_VOTING_VOXELS_PER_BLOCK = 192
"""Voxels with votes that a block is budgeted with: three layers of a plane through it."""
_FREE_VOX, _FREE = 0.5, 0.95
"""Free is a voxel so far beyond the band that votes, and any at the second, a part of the truncation distance."""
_SHAPING = (
    "geometry",
    "device",
    "half_precision",
    "keyframes.",
    "segmenter.",
    "volume.",
    "semantics.",
    "predicted_depth.",
)
"""Sections whose settings shape the map, but for those in `ADJUSTABLE`."""


@dataclass(frozen=True)
class MapUpdate:
    """What one frame did.

    Attributes:
        stamp_ns: of the frame.
        frame: the frame; with predicted depth where that was mapped.
        segmentation: of its image.
        keyframe: set when the frame became one, and voted.
        blocks: (N,) int64 rows of the voxel blocks in which it may have changed something.
        stages: milliseconds by stage.
    """

    stamp_ns: int
    frame: Frame
    segmentation: Segmentation
    keyframe: Keyframe | None
    blocks: torch.Tensor
    stages: dict[str, float]


@dataclass(frozen=True)
class LabelledPoints:
    """Surface points or mesh vertices with what is known of them, on the host.

    Attributes:
        points: (N, 3) float32 world coordinates, m.
        labels: (N,) uint8 class index, 255 = unknown.
        confidence: (N,) float32 share of the votes for that label, 0..1.
        colors: (N, 3) uint8 mean colour of the images; None where nobody told.
        faces: (F, 3) int32 triangles; None for a cloud.
        blocks: (N,) int64 rows of the voxel blocks that the points are from; None for a mesh.
    """

    points: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    colors: np.ndarray | None
    faces: np.ndarray | None = None
    blocks: np.ndarray | None = None


@dataclass(frozen=True)
class RenderedView:
    """The map as a camera sees it, on the host.

    Attributes:
        depth: (H, W) float32 metres, 0 where there is no surface.
        labels: (H, W) uint8, 255 = unknown.
        confidence: (H, W) float32 share of the votes for that label.
        colors: (H, W, 3) uint8 mean image colour.
    """

    depth: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True)
class MapContents:
    """Everything that mapping goes on from.

    Attributes:
        blocks: ``coords`` (N, 3) and every attribute (N, 512) of the blocks, see `BlockGrid.rows`.
        votes: rows of the vote table, see `VoteTable.rows`.
        frames, keyframes: how many went into it.
        last_poses: (4, 4) world_T_cam of the latest keyframe of each camera.
    """

    blocks: dict[str, torch.Tensor]
    votes: dict[str, torch.Tensor]
    frames: int
    keyframes: int
    last_poses: dict[str, np.ndarray]


def map_device(config: Config) -> torch.device:
    """Where the map and what remembers views of it live: with a disk beside it, in the CPU's memory."""
    return torch_device("cpu" if config.volume.disk_dir else config.device)


class SemanticMapper:
    """Builds the map.

    Args:
        config: all settings.
        segmenter: gives class probabilities in the label space of the map.
        fusion: how much each view's vote counts; all the same by default.
        spatial: how neighbouring surface points vote; not at all by default.
        disk: bounds the memory of the map, and of the fusion's where that was made with it, too.
        view_depth: predicts depth from colour, for ``geometry: rgb``; None for ``geometry: depth``.

    Attributes:
        jumps: how often poses jumped, and whether that paused the mapping.
        classes: of the voxels at the surface.

    Raises:
        ValueError: settings that cannot be met here.
    """

    def __init__(
        self,
        config: Config,
        segmenter: Segmenter,
        fusion: ViewFusion | None = None,
        spatial: SpatialVoting | None = None,
        disk: MapDisk | None = None,
        view_depth: ViewDepth | None = None,
    ) -> None:
        if bool(config.volume.disk_dir) != (disk is not None):
            raise ValueError(
                f"volume.disk_dir is {config.volume.disk_dir!r}, which this mapper was not made for: `gnesf map` and "
                "the node write to it, other commands keep all in memory, leave it empty there"
            )
        if (config.geometry == "rgb") != (view_depth is not None):
            raise ValueError(
                f"geometry is {config.geometry!r}, which this mapper was not made for: rgb takes a view_depth "
                "(gnesf_model.build makes both), depth takes none"
            )
        self.config = config
        self.segmenter = segmenter
        self.fusion = fusion or UniformFusion()
        self.device = map_device(config)
        self._disk, self._view_depth = disk, view_depth
        volume, classes = config.volume, len(segmenter.labels)
        attributes = {
            "tsdf": (torch.float32, 1.0),
            "weight": (torch.float32, 0.0),
            "row": (torch.int32, -1.0),
        }
        budget = BlockGrid.bytes_per_block(attributes)
        budget += _VOTING_VOXELS_PER_BLOCK * VoteTable.bytes_per_row(classes)
        budget += self.fusion.bytes_per_block(SIDE_VOX * volume.voxel_size_m, _VOTING_VOXELS_PER_BLOCK)
        self.grid = BlockGrid(
            volume.voxel_size_m,
            attributes,
            max_blocks=int(volume.limit[1] * 1e6 / budget),
            device=self.device,
            disk=disk,
        )
        self.truncation_m = volume.truncation_vox * volume.voxel_size_m
        self.tsdf = self._tsdf_volume()
        self.votes = VoteTable(
            classes,
            max_votes=config.semantics.max_votes,
            max_rows=self.grid.max_blocks * _VOTING_VOXELS_PER_BLOCK,
            device=self.device,
            disk=disk,
        )
        self.classes = SurfaceClasses(lambda: self.grid, lambda: self.votes, spatial, volume.min_weight)
        moving = torch.from_numpy(segmenter.labels.of_kind("dynamic")).to(self.device)
        self._moving = moving if bool(moving.any()) else None
        self.keyframes = KeyframeSelector(config.keyframes)
        self.frames = 0
        self.jumps = PoseJumpResponse()
        self._timer = StageTimer(self.device)
        self._touched: torch.Tensor | None = None
        """Blocks that the frame in work has changed."""

    @property
    def labels(self) -> LabelSpace:
        """Label space of the map."""
        return self.segmenter.labels

    @property
    def memory_bytes(self) -> int:
        """Memory reserved for voxels, votes and what the fusion of views remembers."""
        parts = (self.grid, self.votes, self.fusion, self.classes)
        return sum(part.memory_bytes for part in parts)

    def reset(self) -> None:
        """Empty the map."""
        self.grid.clear()
        self.votes.clear()
        self.fusion.clear()
        self.keyframes.clear()
        self._forget_views()
        self.frames = 0
        self.jumps.resume()

    def contents(self) -> MapContents:
        """What the map is, as `replace` takes it; views of the map, valid until the next change."""
        return MapContents(
            blocks=self.grid.rows(),
            votes=self.votes.rows(),
            frames=self.frames,
            keyframes=self.keyframes.count,
            last_poses=dict(self.keyframes.last_poses),
        )

    def adjust(self, config: Config) -> None:
        """Go on with other settings, from the next frame on.

        Raises:
            ValueError: a setting differs that shapes the map, so is not in `ADJUSTABLE`.
        """
        old, new = self.config.to_flat(), config.to_flat()
        changed = [name for name in new if new[name] != old[name] and name.startswith(_SHAPING)]
        if fixed := [name for name in changed if name not in ADJUSTABLE]:
            raise ValueError(f"{', '.join(fixed)} cannot change while there is a map")
        self.config = config
        self.keyframes.config = config.keyframes
        self.votes.max_votes = config.semantics.max_votes
        self.classes.min_weight = config.volume.min_weight
        self.tsdf = self._tsdf_volume()
        if self._view_depth is not None:
            self._view_depth.views = config.predicted_depth.views
            self._view_depth.min_confidence = config.predicted_depth.min_confidence

    @torch.inference_mode()
    def replace(self, contents: MapContents) -> None:
        """Hold another map, made with the same voxels, truncation and classes; mapping goes on from it.

        Raises:
            MapFull, OutOfReach: it does not fit; the map is as it was.
        """
        grid, votes = self.grid.filled(contents.blocks), self.votes.filled(contents.votes)
        self.grid, self.votes = grid, votes
        self.fusion.clear()
        self._forget_views()
        self.tsdf = self._tsdf_volume()
        self.keyframes.restore(contents.keyframes, contents.last_poses)
        self.frames = contents.frames
        self.jumps.resume()

    @torch.inference_mode()
    def integrate(self, frame: Frame) -> MapUpdate:
        """Add one frame: its geometry always, its votes when it is a keyframe.

        With ``geometry: rgb`` only keyframes change the map: their depth is predicted from the ones before them, and
        what the frame has of measured depth is not looked at.

        A pose jump may empty the map first (`input.on_pose_jump`), even if the frame is dropped: `grid.generation`
        tells.

        Raises:
            FrameDropped: the frame cannot be used (``no_depth``, ``segmenter``, ``out_of_range``), poses jumped
                and nothing is mapped until `jumps.resume` or `reset` (``paused``), a keyframe has nothing to tell
                depth by (``first_view``, ``no_parallax``, ``no_contrast``; geometry: rgb), or
                what it adds does not fit (``map_full``, ``out_of_memory``; its geometry may have fitted where its
                votes did not: `FrameDropped.blocks`). What the map held is unharmed. The drop carries the
                segmentation, if there is one.
        """
        self._timer.restart()
        self._touched = None
        if self.jumps.demands_reset(frame, self.config.input.on_pose_jump):
            self.reset()
        with self._timer("segment"):
            segmentation = self._segment(frame)
        try:
            mapped = frame if self._view_depth is None else self._with_predicted_depth(frame)
            with single_thread():
                slots, keyframe = self._integrate(mapped, segmentation)
        except FrameDropped as drop:
            drop.segmentation = segmentation
            raise
        except MapFull as error:
            raise FrameDropped("map_full", str(error), segmentation, self._changed()) from error
        except OutOfReach as error:
            raise FrameDropped("out_of_range", str(error), segmentation) from error
        except torch.cuda.OutOfMemoryError as error:
            text = self.no_memory("map the frame", error)
            raise FrameDropped("out_of_memory", text, segmentation, self._changed()) from error
        finally:
            if self._disk is not None:
                self._disk.end_frame()
        shown = frame if mapped.depth is None else mapped
        return MapUpdate(frame.stamp_ns, shown, segmentation, keyframe, self.classes.changed(slots), self._timer.read())

    @torch.inference_mode()
    @single_thread()
    def surface(self, blocks: torch.Tensor | None = None) -> LabelledPoints:
        """Labelled points of the whole surface, or of some blocks."""
        found = surface_points(self.grid, self._blocks(blocks), self.config.volume.min_weight)
        return self._labelled(found.points, found.rows, blocks=found.blocks)

    @torch.inference_mode()
    @single_thread()
    def mesh(self, blocks: torch.Tensor | None = None) -> LabelledPoints:
        """Labelled triangle mesh of the whole surface, or of some blocks."""
        found = surface_mesh(self.grid, self._blocks(blocks), self.config.volume.min_weight)
        return self._labelled(found.vertices, found.rows, found.faces)

    @torch.inference_mode()
    @single_thread()
    def render(self, camera: Camera, world_T_cam: np.ndarray, max_depth_m: float | None = None) -> RenderedView:
        """Semantic view synthesis: what a camera at (4, 4) `world_T_cam` sees of the map.

        Rays end at `max_depth_m`, by default the depth to which the map is measured.

        Raises:
            OutOfReach: the camera is further from the world's origin than any map can be.
        """
        cast = raycast(
            self.grid,
            camera,
            world_T_cam,
            truncation_m=self.truncation_m,
            min_depth_m=self.config.volume.min_depth_m,
            max_depth_m=max_depth_m or self.config.volume.max_depth_m,
            min_weight=self.config.volume.min_weight,
        )
        shape, rows = cast.rows.shape, cast.rows.view(-1)
        label, confidence = self.classes.labels(rows)
        return RenderedView(
            depth=cast.depth.cpu().numpy(),
            labels=label.view(shape).cpu().numpy(),
            confidence=confidence.view(shape).cpu().numpy(),
            colors=self.votes.color(rows).view(*shape, 3).cpu().numpy(),
        )

    def _changed(self) -> torch.Tensor | None:
        """Blocks that a frame changed before it failed; None where it did not come that far."""
        return None if self._touched is None else self.classes.changed(self._touched)

    def _tsdf_volume(self) -> TsdfVolume:
        volume = self.config.volume
        return TsdfVolume(
            self.grid,
            truncation_m=self.truncation_m,
            max_depth_m=volume.max_depth_m,
            max_weight=volume.max_weight,
            steep=self._view_depth is None,
        )

    def _integrate(self, frame: Frame, segmentation: Segmentation) -> tuple[torch.Tensor, Keyframe | None]:
        """Geometry and votes of a frame: the blocks it touched, and the keyframe if it became one."""
        if self._view_depth is not None and frame.depth is None:
            self.frames += 1
            return torch.zeros(0, dtype=torch.int64, device=self.device), None
        with self._timer("tsdf_prepare"):
            view = self._depth_view(frame, segmentation)
        with self._timer("tsdf_allocate"):
            band = self.tsdf.allocate(view)
            slots = band.slots
        if len(slots):
            with self._timer("tsdf_integrate"):
                weight = 1.0 if self._view_depth is None else self.config.predicted_depth.weight
                observation = self.tsdf.integrate(view, band, weight)
        with self._timer("tsdf_clear"):
            stale = self._clear(frame, view, slots)
            touched = self._touched = torch.cat([slots, stale])
            self._forget_looked_through(stale)
        if len(touched) == 0:
            if self._view_depth is not None:  # or its depth would be predicted again at the next frame
                self.keyframes.push(frame)
            raise FrameDropped("no_depth", self._nothing_measured(frame))
        self.frames += 1
        # A view that only shows what is gone has nothing to vote on.
        if len(slots) == 0 or not self.keyframes.accepts(frame):
            if self._view_depth is not None:
                self.keyframes.push(frame)
            return touched, None
        with self._timer("vote"):
            self._vote(frame, segmentation, view, observation)
        return touched, self.keyframes.push(frame)

    def _with_predicted_depth(self, frame: Frame) -> Frame:
        """The frame with depth from the keyframes before it; without any where it is no keyframe."""
        depth = None
        if self.keyframes.accepts(frame):
            try:
                with self._timer("predict_depth"):
                    depth = self._view_depth.add(frame)
            except FrameDropped as drop:
                if drop.reason in ("first_view", "no_parallax"):  # the next one is held against it
                    self.keyframes.push(frame)
                raise
        return replace(frame, depth=depth, depth_stamp_ns=None, world_T_depth=None)

    def _forget_views(self) -> None:
        if self._view_depth is not None:
            self._view_depth.clear()

    def _clear(self, frame: Frame, view: DepthView, slots: torch.Tensor) -> torch.Tensor:
        """Let surfaces decay that this view looks through; gives the blocks (N,) in which there were some."""
        weight, reach = self.config.volume.clearing_weight, self.config.volume.max_depth_m
        if weight <= 0:
            return slots[:0]
        # What is measured beyond the map's range is not mapped, but says that all before it is free.
        measured = torch.from_numpy(frame.depth).to(self.device)
        view = replace(view, depth=torch.where(measured > reach, reach, view.depth))
        stale = self.tsdf.seen_through(view, slots)
        if len(stale):
            self.tsdf.integrate(view, Band.flat(stale), weight)
        return stale

    def _forget_looked_through(self, stale: torch.Tensor) -> None:
        """Take back votes in blocks (N,) that were looked through: of what is free now, around them too if all is.

        They were for a surface that is gone: what stands there next would have to outvote it.
        """
        if len(stale) == 0:
            return
        left = self.tsdf.has_inside(stale)
        if len(emptied := stale[~left]):
            # All of it: where the field crosses zero at its faces, that is what is going from the next block, too.
            self._forget(emptied, self.grid.voxels["row"][emptied] >= 0)
            bare = self._bare_around(emptied)
            self._forget(bare, ~at_surface(self.grid, bare))
        if len(stale := stale[left]):
            self._forget(stale, (self.grid.voxels["tsdf"][stale] > self._free) & ~at_surface(self.grid, stale))

    @property
    def _free(self) -> float:
        """Signed distance, of the truncation distance, beyond which a voxel is in front of any surface."""
        vox = self.config.semantics.band_vox + _FREE_VOX
        return min(vox / self.config.volume.truncation_vox, _FREE)

    def _forget(self, slots: torch.Tensor, gone: torch.Tensor) -> None:
        """Take back the votes of flagged voxels (N, 512) of blocks (N,)."""
        rows = self.grid.voxels["row"][slots][gone].long()
        if len(rows := rows[rows >= 0]):
            self.votes.forget(rows)
            self.fusion.forget(rows)

    def _bare_around(self, slots: torch.Tensor) -> torch.Tensor:
        """Neighbours (M,) of blocks (N,) without a surface near: what voted there stood in front of one in `slots`."""
        around = with_neighbours(self.grid, slots, 1)
        near = with_neighbours(self.grid, around, 1)
        near = with_neighbours(self.grid, near[self.tsdf.has_inside(near)], 1)
        return around[~torch.isin(around, near)]

    def _segment(self, frame: Frame) -> Segmentation:
        expected = grid_size(*frame.rgb.shape[:2])
        try:
            segmentation = self.segmenter(frame.rgb, frame.stamp_ns)
            shape = tuple(segmentation.probabilities.shape[1:])
            usable = shape == expected and bool(segmentation.probabilities.sum().isfinite())
        except torch.cuda.OutOfMemoryError as error:
            raise FrameDropped("out_of_memory", self.no_memory("segment the image", error)) from error
        except Exception as error:  # a network of a user's may fail in any way
            raise FrameDropped("segmenter", f"the segmenter failed: {type(error).__name__}: {error}") from error
        if not usable:  # one such image would stay in the votes of every voxel that it touched
            raise FrameDropped(
                "segmenter",
                f"the segmenter gave {shape[0]}x{shape[1]} cells or values that are not finite, expected finite "
                f"probabilities of {expected[0]}x{expected[1]} cells: check its weights and its input",
            )
        return segmentation

    def no_memory(self, what: str, error: Exception) -> str:
        """What to say to a user where the GPU's memory does not suffice for something."""
        reason = " ".join(str(error).split())[:200]
        return (
            f"the GPU has no memory left to {what} (the map takes {self.memory_bytes / 1e6:.0f} MB): end other "
            "programs on it, take a smaller network or segmenter.input_size, coarser volume.voxel_size_m, a lower "
            f"volume.max_map_memory_mb, or device: cpu ({reason})"
        )

    def _depth_view(self, frame: Frame, segmentation: Segmentation) -> DepthView:
        """Depth on the device, 0 where it is out of range or shows something that moves."""
        if frame.depth is None:
            raise FrameDropped("no_depth", "the frame has no depth image, geometry: depth needs one")
        volume = self.config.volume
        depth = torch.from_numpy(frame.depth).to(self.device)
        depth = in_range(depth, volume.min_depth_m, volume.max_depth_m)
        moving = moving_pixels(segmentation, *frame.depth.shape)
        if moving is not None:
            moving = moving.to(self.device)
            depth *= ~(moving if frame.world_T_depth is None else seen_from_color(moving, depth, frame))
        pose = frame.world_T_cam if frame.world_T_depth is None else frame.world_T_depth
        return DepthView(depth, frame.camera, pose)

    def _nothing_measured(self, frame: Frame) -> str:
        volume = self.config.volume
        measured = frame.depth[frame.depth > 0]
        how, check = (
            ("measured", "input.depth_unit_m") if self._view_depth is None else ("predicted", "the poses' unit")
        )
        found = f"{len(measured)} pixels are {how}" + (
            f", at {np.median(measured):.4g} m in the median" if len(measured) else ""
        )
        return (
            f"no pixel shows something at rest between {volume.min_depth_m} and {volume.max_depth_m} m ({found}): "
            f"check {check}, volume.min_depth_m, volume.max_depth_m and what is in front of the lens"
        )

    def _vote(self, frame: Frame, segmentation: Segmentation, view: DepthView, observation: Observation) -> None:
        """One vote of this view on every voxel at the surface that it sees (eq. 4)."""
        slots, distance = observation.slots, observation.distance.abs()
        band = self.config.semantics.band_vox * self.grid.voxel_size_m
        far = self.grid.voxels["tsdf"][slots]
        crossed = at_surface(self.grid, slots)
        # What has come to lie far in front of any surface, however steeply the field falls there, is free now.
        self._forget(slots, (far > self._free) & ~crossed)
        surface = far.abs() * self.truncation_m <= band
        surface |= crossed
        surface &= distance <= self.truncation_m
        block, voxel = surface.nonzero(as_tuple=True)
        slot = slots[block]
        place = self.grid.positions(slot, voxel)
        cam_T_world = torch.from_numpy(invert(frame.world_T_cam)).to(self.device)
        pixels, depth = project(transform(cam_T_world, place).float(), frame.camera)
        u, v = nearest_pixels(pixels, frame.camera)
        measured, shift = depth, None
        measured_u, measured_v = u, v
        if frame.world_T_depth is not None:
            # Depth was taken at another moment: it is looked up where that view has the point.
            depth_T_world = torch.from_numpy(invert(frame.world_T_depth)).to(self.device)
            measured_pixels, measured = project(transform(depth_T_world, place).float(), frame.camera)
            measured_u, measured_v = nearest_pixels(measured_pixels, frame.camera)
            shift = measured_pixels - pixels
        # Seen is what lies within the band of the measured surface, along its normal; see `Observation.distance`.
        scale = view.planes.scale[view.planes.at(measured_v, measured_u)].clamp_min_(STEEP)
        near = distance[block, voxel] * scale <= band
        if shift is not None:
            near &= inside_image(pixels, depth, frame.camera)
        seen = near.nonzero()[:, 0]
        rows = self._rows(slot[seen], voxel[seen])
        probabilities = sample_beside_edges(
            segmentation.probabilities.to(self.device),
            view,
            pixels[seen],
            measured[seen],
            self.truncation_m,
            None if shift is None else shift[seen],
        )
        if self._moving is not None:  # beside a person's outline: no vote for a person, and for nothing else
            probabilities[:, self._moving] = 0.0
        rgb = torch.from_numpy(frame.rgb).to(self.device)[v[seen], u[seen]].float()
        samples = ViewSamples(
            frame=frame,
            points=place[seen],
            pixels=pixels[seen],
            depth=depth[seen],
            probabilities=probabilities,
            mean=self.votes.distribution(rows),
            total=self.votes.total(rows),
            rows=rows,
        )
        self.votes.add(rows, probabilities, self.fusion.weights(samples), rgb)

    def _rows(self, slot: torch.Tensor, voxel: torch.Tensor) -> torch.Tensor:
        """Vote rows (M,) of voxels, made where missing."""
        rows = self.grid.voxels["row"][slot, voxel].long()
        missing = (rows < 0).nonzero()[:, 0]
        rows[missing] = self.votes.allocate(len(missing))
        self.grid.voxels["row"][slot[missing], voxel[missing]] = rows[missing].int()
        return rows

    def _blocks(self, blocks: torch.Tensor | None) -> torch.Tensor:
        return torch.arange(self.grid.count, device=self.device) if blocks is None else blocks

    def _labelled(
        self,
        points: torch.Tensor,
        rows: torch.Tensor,
        faces: torch.Tensor | None = None,
        blocks: torch.Tensor | None = None,
    ) -> LabelledPoints:
        label, confidence = self.classes.labels(rows)
        return LabelledPoints(
            points=points.cpu().numpy(),
            labels=label.cpu().numpy(),
            confidence=confidence.cpu().numpy(),
            colors=self.votes.color(rows).cpu().numpy(),
            faces=None if faces is None else faces.int().cpu().numpy(),
            blocks=None if blocks is None else blocks.cpu().numpy(),
        )
