"""Sparse voxel blocks: a hash from block coordinates to rows of per-voxel tensors.

A block is a cube of 8 x 8 x 8 voxels; voxel (i, j, k) of block (a, b, c) has its centre at
``((8 a + i, 8 b + j, 8 c + k) + 0.5) * voxel_size_m`` in the world. Everything is plain torch on one
device: no compiled extension, no host round trip but the one that the count of new blocks needs.
"""

from __future__ import annotations

import torch

from gnesf_model.volume.limits import MapFull, OutOfReach
from gnesf_model.volume.map_disk import MapDisk
from gnesf_model.volume.table import Column, Table

SIDE_VOX = 8
"""Voxels along the edge of a block."""
VOXELS = SIDE_VOX**3
"""Voxels in a block."""
COORDINATE_LIMIT = 1 << 20
"""Block coordinates lie in [-limit, limit): three of them fit one int64 key."""

_EMPTY = -1
_PROBES = 16
_HASH_PRIMES = (73856093, 19349669, 83492791)


class BlockGrid:
    """Allocates, finds and enumerates voxel blocks.

    Args:
        voxel_size_m: edge of a voxel.
        attributes: name -> (dtype, fill value) of the per-voxel tensors.
        max_blocks: hard limit on the number of blocks.
        device: where everything lives.
        disk: takes blocks that were not seen for long; None: all stay in memory.

    Attributes:
        coords: (capacity, 3) int32 block coordinates; the first `count` rows are in use.
        generation: grows whenever the blocks are forgotten, so that rows of before mean nothing any more.
        voxels: name -> (capacity, 512) tensor; voxel (i, j, k) is column ``(8 i + j) 8 + k``.
    """

    def __init__(
        self,
        voxel_size_m: float,
        attributes: dict[str, tuple[torch.dtype, float]],
        *,
        max_blocks: int,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
    ) -> None:
        self.voxel_size_m = voxel_size_m
        self.block_size_m = voxel_size_m * SIDE_VOX
        self.device = torch.device(device)
        self.max_blocks = max_blocks
        self._attributes = attributes
        axis = torch.arange(SIDE_VOX, device=self.device)
        self.offsets_vox = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
        self._primes = torch.tensor(_HASH_PRIMES, device=self.device)
        self._probes = torch.arange(_PROBES, device=self.device)
        self.generation = 0
        self._disk = disk
        columns = {name: Column(dtype, VOXELS, fill) for name, (dtype, fill) in attributes.items()}
        self._table = Table(columns, device=self.device, disk=disk)
        # Looked through as a whole in every frame: always in memory.
        self._index = Table({"coords": Column(torch.int32, 3)}, device=self.device)
        self.clear()

    def clear(self) -> None:
        """Forget every block."""
        self.count = 0
        self.generation += 1
        self._table.clear()
        self._index.clear()
        self._reserve_table(1024)

    @property
    def coords(self) -> torch.Tensor:
        """As above."""
        return self._index.columns["coords"]

    @property
    def voxels(self) -> dict[str, torch.Tensor]:
        """As above."""
        return self._table.columns

    @staticmethod
    def bytes_per_block(attributes: dict[str, tuple[torch.dtype, float]]) -> int:
        """Memory of one block with these attributes and its four entries of the hash table."""
        voxel = sum(torch.empty((), dtype=dtype).element_size() for dtype, _ in attributes.values())
        return VOXELS * voxel + 12 + 4 * 16

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved for the blocks now."""
        tables = self._keys.numel() * self._keys.element_size() * 2
        return self._table.memory_bytes + self._index.memory_bytes + tables

    def find(self, coords: torch.Tensor) -> torch.Tensor:
        """Rows (N,) int64 of the blocks with coordinates (N, 3), -1 where there is none."""
        keys = _pack(coords)
        places = self._places(coords)
        hit = self._keys[places] == keys[:, None]
        slot = (self._slots[places] * hit + hit).sum(dim=1)  # at most one probe hits
        return slot - 1

    def allocate(self, coords: torch.Tensor) -> torch.Tensor:
        """Rows (N,) int64 of the blocks with distinct coordinates (N, 3), made where missing.

        Raises:
            MapFull: the new blocks do not fit; nothing is changed then.
            OutOfReach: a coordinate is out of range.
        """
        if coords.numel() and int(coords.abs().max()) >= COORDINATE_LIMIT:
            raise OutOfReach(
                f"block coordinate {int(coords.abs().max())} is beyond {COORDINATE_LIMIT}: the pose is "
                f"further than {COORDINATE_LIMIT * self.block_size_m / 1000:.0f} km from the map's origin"
            )
        slots = self.find(coords)
        missing = (slots < 0).nonzero()[:, 0]
        if len(missing):
            new = coords[missing].to(torch.int32)
            if self.count + len(new) > self.max_blocks:
                raise MapFull(
                    f"the map holds {self.count} blocks and the frame needs {len(new)} more, at most {self.max_blocks} "
                    "fit volume.max_map_memory_mb (with disk_dir: max_map_disk_mb): raise it or the voxel size"
                )
            slots[missing] = self._append(new)
        self._table.seen(slots)
        return slots

    def rows(self) -> dict[str, torch.Tensor]:
        """What the blocks hold: ``coords`` and every attribute, one row per block; views, not copies."""
        return {name: t[: self.count] for name, t in {"coords": self.coords, **self.voxels}.items()}

    def filled(self, rows: dict[str, torch.Tensor]) -> BlockGrid:
        """Another grid of this kind that holds `rows`, in their order; the coordinates must be distinct.

        Raises:
            MapFull, OutOfReach: as `allocate`.
        """
        limits = {"max_blocks": self.max_blocks, "device": self.device, "disk": self._disk}
        grid = BlockGrid(self.voxel_size_m, self._attributes, **limits)
        grid.allocate(rows["coords"].to(self.device))
        for name, tensor in grid.voxels.items():
            tensor[: grid.count] = rows[name].to(self.device)
        return grid

    def directory(self, low: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """Dense table of block rows over a box of blocks, -1 where there is no block.

        Args:
            low: (3,) integer coordinates of the first block.
            shape: blocks along each axis.

        Returns:
            (shape) int64; indexing it replaces one hash look-up per voxel.
        """
        axes = [torch.arange(n, device=self.device) + int(o) for n, o in zip(shape, low, strict=True)]
        coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
        return self.find(coords).view(shape)

    def positions(self, slots: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """World coordinates (..., 3) float64 in metres of the centres of voxels, by block row and column."""
        corner = self.coords[slots].double() * self.block_size_m
        return corner + (self.offsets_vox[columns].double() + 0.5) * self.voxel_size_m

    def centres(self, slots: torch.Tensor) -> torch.Tensor:
        """World coordinates (N, 512, 3) float32 in metres of the voxel centres of some blocks."""
        return self.positions(slots[:, None], torch.arange(VOXELS, device=self.device)).float()

    def _append(self, coords: torch.Tensor) -> torch.Tensor:
        first, last = self.count, self.count + len(coords)
        self._table.reserve(last, self.max_blocks)
        self._index.reserve(last, self.max_blocks)
        slots = torch.arange(first, last, device=self.device)
        self.coords[slots] = coords
        self.count = last
        try:
            if 2 * last > len(self._keys):
                self._reserve_table(4 * last)
                self._insert(self.coords[:last], torch.arange(last, device=self.device))
            else:
                self._insert(coords, slots)
        except torch.cuda.OutOfMemoryError:
            # The table may name some of the new blocks, or lack old ones: it is filled anew with those that stay.
            self.count = first
            self._keys.fill_(_EMPTY)
            self._insert(self.coords[:first], torch.arange(first, device=self.device))
            raise
        return slots

    def _reserve_table(self, size: int) -> None:
        size = 1 << (size - 1).bit_length()
        keys = torch.full((size,), _EMPTY, dtype=torch.int64, device=self.device)
        self._slots = torch.full((size,), _EMPTY, dtype=torch.int64, device=self.device)
        self._keys = keys  # both or none, if memory ends

    def _places(self, coords: torch.Tensor) -> torch.Tensor:
        """Table positions (N, probes) to look at for coordinates (N, 3): quadratic probing."""
        start = (coords.long() * self._primes).sum(dim=1)
        start = start ^ (start >> 15)
        steps = self._probes * (self._probes + 1) // 2
        return (start[:, None] + steps) & (len(self._keys) - 1)

    def _insert(self, coords: torch.Tensor, slots: torch.Tensor) -> None:
        """Put distinct new coordinates into the table; rows that collide try again."""
        keys = _pack(coords)
        while len(keys):
            places = self._places(coords)
            free = self._keys[places] == _EMPTY
            if not bool(free.any(dim=1).all()):
                self._reserve_table(2 * len(self._keys))
                coords = self.coords[: self.count]
                keys, slots = _pack(coords), torch.arange(self.count, device=self.device)
                continue
            place = places.gather(1, free.int().argmax(dim=1, keepdim=True))[:, 0]
            self._keys[place] = keys
            won = self._keys[place] == keys
            self._slots[place[won]] = slots[won]
            lost = ~won
            coords, keys, slots = coords[lost], keys[lost], slots[lost]


def _pack(coords: torch.Tensor) -> torch.Tensor:
    """One int64 per row of integer coordinates (N, 3)."""
    c = coords.long() + COORDINATE_LIMIT
    return (c[:, 0] << 42) | (c[:, 1] << 21) | c[:, 2]
