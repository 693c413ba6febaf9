"""The map: sparse voxel blocks, the distance field in them, the classes on their surface."""
