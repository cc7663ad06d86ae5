"""Pictures of a training run, drawn with Pillow."""

from keras_ssgan.plotting.confusion import confusion_matrix
from keras_ssgan.plotting.grids import captioned
from keras_ssgan.plotting.grids import captioned_grid
from keras_ssgan.plotting.grids import class_grid
from keras_ssgan.plotting.grids import image_grid
from keras_ssgan.plotting.learning_curves import curves
from keras_ssgan.plotting.reliability import reliability_diagram

# In the order of the API reference.
__all__ = [
    "image_grid",
    "class_grid",
    "captioned",
    "curves",
    "captioned_grid",
    "reliability_diagram",
    "confusion_matrix",
]
