"""Colours and measures that the pictures share."""

WHITE = (255, 255, 255)
INK = (32, 33, 36)
MUTED = (95, 99, 104)
AXIS = (154, 160, 166)

# Okabe and Ito's colours, safe for the colour-blind, with grey in place of
# their yellow, which is hard to see on white.
COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
    (153, 153, 153),
)

# In pixels, as all measures are.
MARGIN = 24
PLOT_HEIGHT = 320
# Longer names of classes are cut off.
NAME_WIDTH = 150
