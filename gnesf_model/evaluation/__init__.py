"""Scores of maps and segmenters against ground truth."""
