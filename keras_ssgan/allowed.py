"""What a model that is loaded may be made of.

The rule: classes of this package; those of Keras that compute with tensors and
nothing else; and whatever the process has registered itself. Not Keras' layers
that hold code or read files or other models (`Lambda`, `TFSMLayer`,
`TorchModuleWrapper`, `JaxLayer`, `StringLookup`, ...), not those that loop over
time, and no function beyond activations, losses and the like.
"""

import inspect
from typing import Any

import keras

_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout
    Attention Average AveragePooling1D AveragePooling2D AveragePooling3D
    BatchNormalization CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose Cropping1D Cropping2D Cropping3D
    Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding
    Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention
    Identity InputLayer LayerNormalization LeakyReLU Masking MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RMSNormalization RandomBrightness
    RandomContrast RandomCrop RandomErasing RandomFlip RandomGaussianBlur
    RandomInvert RandomPerspective RandomRotation RandomSharpness RandomShear
    RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D Softmax SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpectralNormalization Subtract UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
"""
# Not `Split`, `Unstack` and their like, which give as many tensors as they are
# told, nor what takes functions.
_NUMPY_OPERATIONS = """
    Abs Absolute Add All Amax Amin Any Arccos Arccosh Arcsin Arcsinh Arctan
    Arctan2 Arctanh Argmax Argmin Argsort Average BroadcastTo Ceil Clip
    Concatenate Copy Cos Cosh Cumprod Cumsum Divide DivideNoNan Dot Einsum Equal
    Exp Exp2 ExpandDims Expm1 Flip Floor FloorDivide GetItem Greater
    GreaterEqual Less LessEqual Log Log10 Log1p Log2 Logaddexp LogicalAnd
    LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Min Minimum
    Mod Moveaxis Multiply NanToNum Negative NotEqual OnesLike Outer Pad Power
    Prod Ravel Reciprocal Repeat Reshape Roll Round Sign Sin Sinh Sort Sqrt
    Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh
    Tensordot Tile Transpose TrueDivide Trunc Var Where ZerosLike
"""
_NEURAL_OPERATIONS = """
    AveragePool BatchNorm Celu Conv ConvTranspose DepthToSpace DepthwiseConv
    DotProductAttention Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh
    LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool Normalize OneHot RMSNorm
    Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus
    Softsign SpaceToDepth SparsePlus SparseSigmoid Sparsemax Squareplus
    TanhShrink Threshold
"""
_OPERATIONS = "keras.src.ops."
_NAMES: dict[str, Any] = {
    "keras": "DTypePolicy FloatDTypePolicy Functional Model Sequential",
    "keras.models": "Functional Model Sequential",
    "keras.src.models.functional": "Functional",
    "keras.src.models.sequential": "Sequential",
    "keras.random": "SeedGenerator",
    "keras.layers": _LAYERS,
    _OPERATIONS + "numpy": _NUMPY_OPERATIONS,
    _OPERATIONS + "nn": _NEURAL_OPERATIONS,
    _OPERATIONS + "math": "Erf Erfc Erfinv Logsumexp Rsqrt TopK",
    _OPERATIONS + "core": "Cast Slice StopGradient",
    _OPERATIONS + "image": "HSVToRGB RGBToGrayscale RGBToHSV Resize",
    _OPERATIONS + "linalg": "Norm",
}
_NAMES = {module: frozenset(names.split()) for module, names in _NAMES.items()}

# Modules of which every class of one kind is allowed.
_KINDS = {
    "keras.constraints": keras.constraints.Constraint,
    "keras.dtype_policies": keras.dtype_policies.DTypePolicy,
    "keras.initializers": keras.initializers.Initializer,
    "keras.losses": keras.losses.Loss,
    "keras.metrics": keras.metrics.Metric,
    "keras.optimizers": keras.optimizers.Optimizer,
    "keras.optimizers.schedules": (
        keras.optimizers.schedules.LearningRateSchedule
    ),
    "keras.regularizers": keras.regularizers.Regularizer,
}
# What Keras calls the module of an optimizer under PyTorch.
_TORCH_OPTIMIZER = "keras.src.backend.torch.optimizers.torch_"
# "builtins" is what Keras writes for a function of its own.
_FUNCTIONS = {
    "builtins": (keras.activations, keras.losses, keras.metrics),
    "keras.activations": (keras.activations,),
    "keras.losses": (keras.losses,),
    "keras.metrics": (keras.metrics,),
}
_NO_FUNCTIONS = ("deserialize", "get", "serialize")


def is_class(module: Any, name: str) -> bool:
    """Whether a model may hold an object of a class of Keras.

    Args:
        module: Name of the module, as a config gives it.
        name: Name of the class.
    """
    if not isinstance(module, str):
        return False
    if module.startswith(_TORCH_OPTIMIZER):
        module = "keras.optimizers"
    if module in _KINDS:
        found = getattr(_module(module), name, None)
        return inspect.isclass(found) and issubclass(found, _KINDS[module])
    return name in _NAMES.get(module, ())


def is_function(module: Any, name: str) -> bool:
    """Whether a model may hold a function of Keras.

    Args:
        module: Name of the module, as a config gives it.
        name: Name of the function.
    """
    return name not in _NO_FUNCTIONS and any(
        inspect.isfunction(getattr(home, name, None))
        for home in _FUNCTIONS.get(module, ())
    )


def _module(name):
    module = keras
    for part in name.split(".")[1:]:
        module = getattr(module, part)
    return module
