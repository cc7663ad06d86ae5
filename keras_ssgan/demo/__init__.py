"""One local page: draw and see it read, move sliders and see it draw."""
