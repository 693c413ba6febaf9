"""GNeSF's neural semantic field (Chen et al., "GNeSF: Generalizable Neural Semantic Fields", NeurIPS 2023).

Source views with their class probabilities in; geometry and class probabilities at any point of space out. Plain torch:
no sparse-convolution package, no compiled extension. A file per noun; each public function names its equation.
"""
