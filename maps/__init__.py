"""The world in nouns: scenes, fleets, scenarios, curves, geometry and map files.

Everyone speaks these nouns, so they live on the lowest floor and import nothing of the others.

Units are metres, seconds and radians in the map frame (x right, y up). Tensors are float64 unless a docstring says
otherwise. Shape letters, the same in every package:

    S  scenarios in a batch
    M  candidate joint trajectories of one scenario
    N  robots, padded to the largest fleet of a batch
    T  time samples
    n  control points of one curve
    K  obstacles
    B  problems, S * M
"""
