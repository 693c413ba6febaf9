"""Trains the networks that come with the package, on procedural rooms alone.

Needs the extra `train` (lightning, torchmetrics, tensorboard); nothing else of the package imports it.
"""
