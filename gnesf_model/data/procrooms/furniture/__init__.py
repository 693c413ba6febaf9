"""Furniture as assemblies of primitives: one function per piece, parameters drawn from a generator.

Frame of a piece: origin in the middle of its footprint on the floor, x to the right of someone who
stands in front of it, y away from them (the back, which goes to the wall), z up; metres. Parts are at
least 4 cm thick where the real thing allows, so that maps of 4 cm voxels can be checked against them.
"""
