"""The semi-supervised GAN as a Keras model with its own training step."""

import contextlib
import inspect
import itertools
import warnings
from typing import Any
from typing import Self

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ssgan import checks
from keras_ssgan import distribution
from keras_ssgan import losses
from keras_ssgan.augmentation import RandomAffine
from keras_ssgan.autodiff import apply_gradients
from keras_ssgan.autodiff import keeps_state
from keras_ssgan.autodiff import trainer_step
from keras_ssgan.autodiff import vjp
from keras_ssgan.classifier import build_classifier
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.mixed import FirstEpoch
from keras_ssgan.datasets.mixed import MixedDataset
from keras_ssgan.errors import InputError
from keras_ssgan.networks import build_discriminator
from keras_ssgan.networks import build_generator
from keras_ssgan.networks import build_preprocessor
from keras_ssgan.networks import run_in_training
from keras_ssgan.optimizer import AlternatingOptimizer
from keras_ssgan.optimizer import serialize_optimizer
from keras_ssgan.settings import get_preset
from keras_ssgan.types import PathLike
from keras_ssgan.types import Tensor


@keras.saving.register_keras_serializable("keras_ssgan")
class SemiSupervisedGAN(keras.Model):
    """A GAN whose discriminator learns to classify from few labels.

    The discriminator has K class logits and one for real/fake. It learns the
    classes from the labelled images, and what images look like from all of
    them and from those that the generator draws; the generator learns to be
    taken for real and to match the mean features of real images (Salimans et
    al. 2016, "Improved Techniques for Training GANs"; DCGAN, Radford et al.
    2016). One training step is one discriminator update, then one generator
    update against the updated discriminator, with the same latents.

    Called on images, the model is the classifier: it gives class
    probabilities. Images go in raw, `(batch, height, width)` or `(batch,
    height, width, channels)`, 0 to 255, at any size: scaling and resizing are
    part of the model. (TensorFlow compiles for images with or without the last
    axis, not both: keep to one.) Labels are integers in `[0, K)`, and -1 where
    there is none; instead of -1, `sample_weight` may be 0.

    Args:
        discriminator: Functional `keras.Model` from images `(batch, height,
            width, channels)` in `[-1, 1]` to `[features, logits]`, of shapes
            `(batch, any)` and `(batch, K + 1)`; logit 0 is high for fake
            images, logits 1..K are the classes.
        generator: Functional `keras.Model` from latents `(batch, 1, 1,
            latent_dim)` to images like the discriminator's.
        real_fake: float, weight of the three losses on real and generated
            images: two of the discriminator's, and one of the generator's, the
            other of which is feature matching.
        feature_matching: `"squared"` or `"absolute"`, the distance that the
            generator's second loss takes of the two mean features.
        consistency: float, weight of the discriminator's fourth loss, the
            disagreement on an image that is changed twice at random
            (`losses.consistency_loss`). 0 is without it.
        augmentation: `keras.layers.Layer` that changes real images in training
            but not their class, such as `augmentation.RandomAffine`; it takes
            and gives images like the discriminator's. `None` for none; what
            consistency compares then differs by dropout alone.
        learning_rate: float, or a
            `keras.optimizers.schedules.LearningRateSchedule`, of the two Adams
            which `compile` makes unless it is given others.
        ema_momentum: float, momentum of the moving average of the weights that
            these Adams keep, and that `fit` puts into the model when it ends
            (`use_ema` in `keras.optimizers.Optimizer`). `None` for none.
        seed: int, seed of the latents drawn in training. Defaults to a random
            one.
        name: Name of the model.
        **kwargs: Arguments of `keras.Model`, such as `dtype`.

    Raises:
        InputError: If the networks do not fit each other, or another argument
            is of no use.

    Example:

    ```python
    import keras_ssgan as ks

    (x_train, y_train), (x_test, y_test) = ks.datasets.load_digits()
    y_train = ks.datasets.hide_labels(y_train, labels=0.2, seed=0)
    gan = ks.SemiSupervisedGAN.from_preset("compact")
    gan.compile()
    gan.fit(x_train, y_train, batch_size=64, epochs=2)
    gan.evaluate(x_test, y_test)
    ```
    """

    def __init__(
        self,
        discriminator: keras.Model,
        generator: keras.Model,
        real_fake: float = 1.0,
        feature_matching: str = "squared",
        consistency: float = 0.0,
        augmentation: keras.Layer | None = None,
        learning_rate: float | LearningRateSchedule = 2e-4,
        ema_momentum: float | None = None,
        seed: int | None = None,
        name: str = "semi_supervised_gan",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        _check_networks(discriminator, generator)
        if min(real_fake, consistency) < 0:
            raise InputError(
                f"real_fake is {real_fake} and consistency {consistency}; give "
                "weights of at least 0"
            )
        if not isinstance(augmentation, keras.Layer | None):
            raise InputError(
                f"augmentation is a {type(augmentation).__name__}; pass a "
                "keras.Layer, such as keras.Sequential of several"
            )
        if feature_matching not in losses.FEATURE_MATCHING:
            raise InputError(
                f"feature_matching={feature_matching!r} is unknown; use one "
                f"of {', '.join(sorted(losses.FEATURE_MATCHING))}"
            )

        # === Networks ===
        self.discriminator = discriminator
        self.generator = generator
        self.preprocessor = build_preprocessor(self.image_shape)
        self.augmentation = augmentation
        # Otherwise Keras builds it from a batch that it takes from the dataset.
        if augmentation is not None and not augmentation.built:
            augmentation.build((None, *self.image_shape))
        self.seed_generator = keras.random.SeedGenerator(seed)

        # === Metrics ===
        d_parts = ["supervised", "real", "fake"]
        if consistency:
            d_parts.append("consistency")
        self.d_metrics = _means("d_loss", *d_parts)
        self.g_metrics = _means("g_loss", "adversarial", "feature_matching")

        # === Config ===
        self.real_fake = real_fake
        self.feature_matching = feature_matching
        self.consistency = consistency
        self.learning_rate = learning_rate
        self.ema_momentum = ema_momentum
        self.seed = seed
        self.built = True

    @classmethod
    def from_preset(
        cls,
        preset: str,
        num_classes: int = 10,
        dtype: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Builds the networks of a preset, with fresh weights.

        Args:
            preset: One of the names in `keras_ssgan.presets()`.
            num_classes: int, K.
            dtype: Dtype policy of the networks, such as `"mixed_bfloat16"`.
                Defaults to the global one.
            seed: int, seed of dropout, augmentation and latents. The weights
                follow `keras.utils.set_random_seed`. Defaults to a random one.
            **kwargs: Arguments of the class.

        Returns:
            A `SemiSupervisedGAN`, not compiled.

        Raises:
            InputError: If there is no such preset.
        """
        settings = get_preset(preset)
        image_shape = (settings.image_size, settings.image_size, 1)
        *hidden, output = settings.generator
        # A stream of its own for each part that draws.
        seeds = (
            itertools.repeat(None) if seed is None else itertools.count(seed)
        )
        discriminator = build_discriminator(
            image_shape,
            settings.discriminator,
            num_classes,
            dropout=settings.discriminator_dropout,
            momentum=settings.momentum,
            tied_logit=settings.tied_logit,
            dtype=dtype,
            seed=next(seeds),
        )
        generator = build_generator(
            settings.latent_dim,
            [*hidden, (image_shape[-1], *output)],
            dropout=settings.generator_dropout,
            momentum=settings.momentum,
            dtype=dtype,
            seed=next(seeds),
        )
        kwargs.setdefault("real_fake", settings.real_fake)
        kwargs.setdefault("consistency", settings.consistency)
        if settings.augmentation is not None:
            kwargs.setdefault(
                "augmentation",
                RandomAffine(**settings.augmentation, seed=next(seeds)),
            )
        kwargs.setdefault("learning_rate", settings.learning_rate)
        kwargs.setdefault("ema_momentum", settings.ema_momentum)
        return cls(discriminator, generator, seed=seed, dtype=dtype, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the networks' images."""
        return self.discriminator.input_shape[1:]

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return self.discriminator.output_shape[1][-1] - 1

    @property
    def latent_dim(self) -> int:
        """Length of the generator's input."""
        return self.generator.input_shape[-1]

    @property
    def discriminator_optimizer(self) -> keras.optimizers.Optimizer:
        """The discriminator's optimizer, once compiled."""
        return self.optimizer.optimizers[0]

    @property
    def generator_optimizer(self) -> keras.optimizers.Optimizer:
        """The generator's optimizer, once compiled."""
        return self.optimizer.optimizers[1]

    # === Compiling ===

    def compile(
        self,
        discriminator_optimizer: str | keras.optimizers.Optimizer | None = None,
        generator_optimizer: str | keras.optimizers.Optimizer | None = None,
        metrics: list | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures the training.

        Both optimizers are built here, so that whatever restores a run, such
        as `keras.callbacks.BackupAndRestore`, finds their variables.

        Args:
            discriminator_optimizer: `keras.optimizers.Optimizer` or its name.
                Defaults to Adam with the model's `learning_rate` and
                `ema_momentum`, and `beta_1` 0.5.
            generator_optimizer: The same for the generator.
            metrics: List of metrics of labels and class probabilities, beyond
                the accuracy; only labelled images count.
            run_eagerly: As in `keras.Model.compile`.
            steps_per_execution: As in `keras.Model.compile`.
            jit_compile: As in `keras.Model.compile`.
            auto_scale_loss: Whether the losses are scaled if the dtype policy
                is `"mixed_float16"`, as in `keras.Model.compile`.

        Raises:
            InputError: If the weights are bfloat16 or float16, which small
                steps do not move; or if `metrics` is no list.
        """
        if not isinstance(metrics, list | tuple | None):
            raise InputError(f"metrics is {metrics!r}; pass a list of metrics")
        for variable in self.trainable_variables:
            checks.check_weights_dtype(variable.dtype)
        optimizer = AlternatingOptimizer(
            self._get_optimizer(
                discriminator_optimizer, "discriminator", auto_scale_loss
            ),
            self._get_optimizer(
                generator_optimizer, "generator", auto_scale_loss
            ),
        )
        optimizer.build(
            self.discriminator.trainable_variables,
            self.generator.trainable_variables,
        )
        super().compile(
            optimizer=optimizer,
            # The rows without a label have weight 0.
            weighted_metrics=[
                keras.metrics.SparseCategoricalAccuracy("accuracy"),
                # By habit it is asked for, too.
                *(x for x in metrics or [] if x not in ("accuracy", "acc")),
            ],
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=False,
        )
        self._build_metrics()
        arguments = {
            "metrics": metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            # As given: what "auto" resolves to depends on the backend, and
            # the model may be loaded under another.
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        # Serialised, since Keras would track metrics in an attribute as ours.
        self._compile_arguments = keras.saving.serialize_keras_object(arguments)

    def _build_metrics(self):
        # Otherwise Keras builds them from a batch that it takes from the
        # dataset, and that an epoch then lacks.
        self.compute_metrics(
            x=None,
            y=ops.zeros((1,), "int32"),
            y_pred=ops.ones((1, self.num_classes)),
            sample_weight=ops.ones((1,)),
        )
        self.reset_metrics()

    def _get_optimizer(self, optimizer, network, auto_scale_loss):
        if optimizer is None:
            averaged = self.ema_momentum is not None
            optimizer = keras.optimizers.Adam(
                self.learning_rate,
                beta_1=0.5,
                use_ema=averaged,
                ema_momentum=self.ema_momentum if averaged else 0.99,
                name=f"{network}_adam",
            )
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if (
            auto_scale_loss
            and self.dtype_policy.name == "mixed_float16"
            and not scaled
        ):
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, name=f"{network}_loss_scale"
            )
        return optimizer

    def get_compile_config(self) -> dict:
        if not self.compiled:
            return {}
        return {
            "discriminator_optimizer": serialize_optimizer(
                self.discriminator_optimizer
            ),
            "generator_optimizer": serialize_optimizer(
                self.generator_optimizer
            ),
            **self._compile_arguments,
        }

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    # === Classifying ===

    def preprocess(self, images: Tensor) -> Tensor:
        """Raw images as the discriminator takes them.

        Args:
            images: Tensor of shape `(batch, any_height, any_width)` or
                `(batch, any_height, any_width, channels)`, 0 to 255.

        Returns:
            Float32 tensor of shape `(batch, *image_shape)` in `[-1, 1]`.
        """
        if len(images.shape) == 3:
            images = ops.expand_dims(images, axis=-1)
        return self.preprocessor(images)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Class probabilities of raw images.

        Args:
            images: As in `preprocess`.
            training: Whether dropout and batch normalisation train.

        Returns:
            Float32 tensor of shape `(batch, K)`.
        """
        _, logits = self.discriminator(
            self.preprocess(images), training=training
        )
        return losses.class_probabilities(logits)

    def classifier(self, temperature: float = 1.0) -> keras.Model:
        """The discriminator as a classifier of raw images.

        Made of stock Keras layers alone, so that the saved model loads where
        this package is not installed, under any backend. It is a copy: further
        training does not change it.

        Args:
            temperature: float above 0, what the class logits are divided by
                before the softmax, so that the probabilities are as sure as
                they should be; `calibration.fit_temperature` finds it. The
                layer `"temperature"` holds it. No prediction changes.

        Returns:
            Functional `keras.Model` from uint8 images `(batch, any_height,
            any_width)`, or with a last axis where there are several channels,
            to float32 probabilities `(batch, K)`.

        Raises:
            InputError: If the temperature is not above 0.
        """
        return build_classifier(self.discriminator, temperature)

    def export(self, filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        """Exports the classifier, as `keras.Model.export`.

        `ks.export_classifier` does so for more runtimes, and runs what it has
        written.

        Args:
            filepath: As in `keras.Model.export`.
            *args: As in `keras.Model.export`.
            **kwargs: As in `keras.Model.export`.
        """
        self.classifier().export(filepath, *args, **kwargs)

    # === Generating ===

    def generate(
        self,
        num_images: int,
        seed: int | np.random.Generator | None = None,
        batch_size: int = 64,
    ) -> np.ndarray:
        """Draws images.

        Args:
            num_images: int.
            seed: As in `sample_latents`.
            batch_size: int, images drawn at a time.

        Returns:
            uint8 array of shape `(num_images, *image_shape)`.

        Raises:
            InputError: If `num_images` is below 1.
        """
        return self.decode(self.sample_latents(num_images, seed), batch_size)

    def sample_latents(
        self, num_images: int, seed: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Draws latents, for `decode`.

        Args:
            num_images: int.
            seed: int; the same seed gives the same latents on every backend.
                Or a `numpy.random.Generator` to draw from. Defaults to fresh
                ones.

        Returns:
            float32 array of shape `(num_images, 1, 1, latent_dim)`, standard
            normal.

        Raises:
            InputError: If `num_images` is below 1.
        """
        if num_images < 1:
            raise InputError(f"num_images is {num_images}; ask for at least 1")
        return np.random.default_rng(seed).standard_normal(
            (num_images, 1, 1, self.latent_dim), dtype="float32"
        )

    def decode(self, latents: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Draws the images of given latents.

        Args:
            latents: float32 array of shape `(n, 1, 1, latent_dim)`.
            batch_size: int, images drawn at a time.

        Returns:
            uint8 array of shape `(n, *image_shape)`.

        Raises:
            InputError: If the latents are of another shape.
        """
        if np.shape(latents)[1:] != (1, 1, self.latent_dim):
            raise InputError(
                f"latents have shape {np.shape(latents)}; pass (n, 1, 1, "
                f"{self.latent_dim}), as sample_latents gives them"
            )
        images = _predict(self.generator, latents, batch_size)
        return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype("uint8")

    # === Training ===

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains, as `keras.Model.fit`.

        Args:
            x: Raw images, an array or tensor; or a `tf.data.Dataset`,
                `keras.utils.PyDataset` or PyTorch `DataLoader` of `(images,
                labels)` or `(images, labels, mask)`.
            y: Labels in `[0, K)`, -1 for none.
            *args: As in `keras.Model.fit`.
            **kwargs: As in `keras.Model.fit`; `sample_weight` is the mask of
                the labelled images, or their weights.

        Returns:
            `keras.callbacks.History` with `d_loss` and its parts
            `d_loss_supervised`, `d_loss_real`, `d_loss_fake` and, with
            `consistency`, `d_loss_consistency`; `g_loss` and its parts
            `g_loss_adversarial` and `g_loss_feature_matching`; each a mean over
            the epoch, the parts without their weights; and `loss` and
            `accuracy`: cross-entropy over the K classes and accuracy of the
            labelled images, which `evaluate` gives too.

        Raises:
            InputError: If arrays are given that are no images or labels, or
                images of other channels or labels of other classes than the
                networks', also as a `MixedDataset` or `validation_data`.
        """
        x, y = _as_array(x), _as_array(y)
        signature = inspect.signature(super().fit)
        arguments = signature.bind(x, y, *args, **kwargs).arguments
        seen = _seen_labels(y, arguments.get("sample_weight"))
        self._check_labeled_images(x, seen)
        _warn_of_one_class(x.y if isinstance(x, MixedDataset) else seen)
        validation_data = arguments.get("validation_data")
        if validation_data is not None:
            if isinstance(validation_data, (tuple, list)):
                validation_data = tuple(map(_as_array, validation_data))
                images, *targets = validation_data
                self._check_labeled_images(images, _seen_labels(*targets))
            else:
                self._check_labeled_images(validation_data)
            arguments |= distribution.deal_validation(
                self,
                validation_data,
                arguments.get("validation_batch_size"),
            )
        if isinstance(x, MixedDataset):
            # Keras takes a callback alone, too.
            used = keras.tree.flatten(arguments.get("callbacks") or [])
            first = FirstEpoch(x, arguments.get("initial_epoch", 0))
            arguments["callbacks"] = [first, *used]
        arguments["x"] = distribution.deal(self, x)
        return super().fit(**arguments)

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Scores labelled images, as `keras.Model.evaluate`.

        Args:
            x: As in `fit`.
            y: As in `fit`; images without a label do not count.
            *args: As in `keras.Model.evaluate`.
            **kwargs: As in `keras.Model.evaluate`.

        Returns:
            `loss`, the cross-entropy over the K classes, and `accuracy`, as a
            list of float, or a dict with `return_dict=True`.

        Raises:
            InputError: As in `fit`.
        """
        x, y = _as_array(x), _as_array(y)
        signature = inspect.signature(super().evaluate)
        arguments = signature.bind(x, y, *args, **kwargs).arguments
        seen = _seen_labels(y, arguments.get("sample_weight"))
        self._check_labeled_images(x, seen)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Class probabilities of raw images, as `keras.Model.predict`.

        Args:
            x: Raw images, or batches of them, as in `fit`.
            *args: As in `keras.Model.predict`.
            **kwargs: As in `keras.Model.predict`.

        Returns:
            float32 array of shape `(n, K)`.

        Raises:
            InputError: If it is an array of no images, or of images of other
                channels than the networks'.
        """
        x = _as_array(x)
        self._check_images(x)
        return super().predict(x, *args, **kwargs)

    def _check_labeled_images(self, images, labels=None):
        """Checks arrays before a step does, which under JAX holds all state."""
        if isinstance(images, MixedDataset):
            # The rest of it has been checked.
            self._check_channels(images.x)
            images, labels = images.x, images.y
            checks.check_labels(labels, self.num_classes)
        elif isinstance(images, np.ndarray):
            self._check_images(images)
            checks.check_labels(labels, self.num_classes, len(images))
        # Of those that are streamed, some from everywhere take long to read.
        if isinstance(images, np.ndarray):
            checks.check_raw(streams.some(images, 100))

    def _check_images(self, images):
        if isinstance(images, np.ndarray):
            checks.check_images(images)
            self._check_channels(images)

    def _check_channels(self, images):
        channels = checks.count_channels(images.shape)
        if channels != self.image_shape[-1]:
            raise InputError(
                f"images of shape {images.shape} have {channels} channels and "
                f"the networks {self.image_shape[-1]}; convert the images, or "
                "build networks for them"
            )

    # Keras has no types for what these make.
    train_function: Any
    test_function: Any
    predict_function: Any

    def make_train_function(self, force: bool = False) -> None:
        if force or self.train_function is None:
            super().make_train_function(force)
            self.train_function = keeps_state(self, self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        if force or self.test_function is None:
            super().make_test_function(force)
            self.test_function = keeps_state(self, self.test_function)

    def make_predict_function(self, force: bool = False) -> None:
        if force or self.predict_function is None:
            super().make_predict_function(force)
            self.predict_function = keeps_state(self, self.predict_function)

    @trainer_step
    def train_step(self, data: Any) -> Any:
        """One discriminator update, then one generator update.

        `compute_loss`, which Keras' own step calls, has no part in it.

        Args:
            data: Batch, `(images, labels)` or `(images, labels, mask)`. Under
                JAX, as in Keras, the arguments are `(state, data)`.

        Returns:
            Dict of the logs; under JAX `(logs, state)`.

        Raises:
            InputError: If there are no labels, or they are one-hot.
        """
        images, labels, mask = self._unpack(data)
        batch_size = ops.shape(images)[0]
        views = [self._augment(images)]
        if self.consistency:
            views.append(self._augment(images))
        latents = distribution.draw(
            keras.random.normal,
            (batch_size, 1, 1, self.latent_dim),
            seed=self.seed_generator,
        )
        fakes, generator_pullback, _ = vjp(
            lambda: (run_in_training(self.generator, latents), None),
            self.generator.trainable_variables,
        )
        # A label of no class makes the figures NaN, and not the weights.
        known = labels < self.num_classes
        d_losses, logits = self._update_discriminator(
            views,
            ops.where(known, labels, 0),
            ops.where(known, mask, 0.0),
            ops.stop_gradient(fakes),
        )
        g_losses = self._update_generator(views[0], fakes, generator_pullback)

        values, labels, mask, logits = distribution.pool_for_metrics(
            d_losses + g_losses, labels, mask, logits
        )
        for metric, value in zip(
            self.d_metrics + self.g_metrics, values, strict=True
        ):
            metric.update_state(value, sample_weight=batch_size)
        return self._update_class_metrics(images, labels, mask, logits)

    def _augment(self, images):
        if self.augmentation is None:
            return images
        return self.augmentation(images, training=True)

    def _update_discriminator(self, views, labels, mask, fakes):
        """One step of the discriminator, on a real and a generated batch.

        Args:
            views: List of one float32 tensor of shape `(batch, *image_shape)`,
                or of two for consistency: the same images, changed differently.
            labels: int32 tensor of shape `(batch,)`.
            mask: Float32 tensor of shape `(batch,)`, 0 for unlabelled.
            fakes: Generated images, like a view.

        Returns:
            The total loss and its parts, without their weights, and the logits
            of the first view.
        """

        def discriminator_loss():
            logits, *other_logits = [
                run_in_training(self.discriminator, view)[1] for view in views
            ]
            # What is classified are real images: the statistics are theirs.
            with _preserved(_statistics(self.discriminator)):
                _, fake_logits = run_in_training(self.discriminator, fakes)
            parts = [
                losses.supervised_loss(logits, labels, mask),
                losses.real_loss(logits),
                losses.fake_loss(fake_logits),
            ]
            weights = [1.0, self.real_fake, self.real_fake]
            if self.consistency:
                parts.append(losses.consistency_loss(logits, *other_logits))
                weights.append(self.consistency)
            return _weighted_sum(weights, parts), (parts, logits)

        variables = self.discriminator.trainable_variables
        loss, pullback, (parts, logits) = vjp(discriminator_loss, variables)
        optimizer = self.discriminator_optimizer
        gradients, _ = pullback(optimizer.scale_loss(ops.ones(())))
        apply_gradients(optimizer, gradients, variables)
        return [loss, *parts], logits

    def _update_generator(self, images, fakes, generator_pullback):
        """One step of the generator, against the updated discriminator.

        The discriminator is differentiated with respect to the generated
        images alone; the generator's own pullback takes it from there.

        Args:
            images: Float32 tensor of shape `(batch, *image_shape)`.
            fakes: Generated images, like `images`.
            generator_pullback: Pullback of the forward pass that drew `fakes`,
                with respect to the generator's trainable variables.

        Returns:
            The total loss and its two parts, without their weights.
        """
        feature_matching_loss = losses.FEATURE_MATCHING[self.feature_matching]
        with _preserved(_statistics(self.discriminator)):
            features, _ = run_in_training(self.discriminator, images)

            def generator_loss(fakes):
                fake_features, logits = run_in_training(
                    self.discriminator, fakes
                )
                parts = [
                    losses.adversarial_loss(logits),
                    feature_matching_loss(features, fake_features),
                ]
                return _weighted_sum([self.real_fake, 1.0], parts), parts

            loss, pullback, parts = vjp(generator_loss, [], fakes)

        optimizer = self.generator_optimizer
        _, (cotangent,) = pullback(optimizer.scale_loss(ops.ones(())))
        gradients, _ = generator_pullback(cotangent)
        apply_gradients(
            optimizer, gradients, self.generator.trainable_variables
        )
        return [loss, *parts]

    def update_statistics(
        self, images: streams.Images, batch_size: int = 256
    ) -> None:
        """Takes the discriminator's moving statistics from these images.

        Those of the training are of changed images, and lag behind the
        weights; averaged weights (`ema_momentum`) were never run in training
        at all (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima
        and Better Generalization", section 3.2). Each batch normalisation gets
        the mean and variance of its inputs, in inference mode, from the first
        one on. Those within a nested model, and frozen ones, keep what they
        have.

        Args:
            images: Raw images, an array as in `fit`; a few thousand are enough.
                Of streamed ones (`datasets.load`) so many are read.
            batch_size: int, images at a time.

        Raises:
            InputError: If they are no images, or of other channels than the
                networks'.
        """
        if isinstance(images, streams.StreamedImages):
            images = streams.some(images)
        checks.check_images(images)
        self._check_channels(images)
        for layer in self.discriminator.layers:
            if (
                isinstance(layer, keras.layers.BatchNormalization)
                # A frozen one keeps its own in training, too.
                and layer.trainable
            ):
                before = keras.Model(self.discriminator.inputs, layer.input)
                mean, variance = self._moments(
                    before, images, batch_size, layer.axis
                )
                layer.moving_mean.assign(mean)
                layer.moving_variance.assign(variance)

    def _moments(self, network, images, batch_size, axis):
        """Mean and variance of each channel, `(channels,)`, in float64."""
        count, total, total_of_squares = 0, 0.0, 0.0
        for outputs in self._outputs(network, images, batch_size):
            outputs = np.moveaxis(outputs, axis, -1).astype("float64")
            outputs = outputs.reshape(-1, outputs.shape[-1])
            count += len(outputs)
            total += outputs.sum(axis=0)
            total_of_squares += np.square(outputs).sum(axis=0)
        mean = total / count
        return mean, total_of_squares / count - np.square(mean)

    def features_and_probabilities(
        self, images: Any, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the discriminator makes of raw images, in inference mode.

        Args:
            images: Array, as in `fit`, or whatever gives one for a slice.
            batch_size: int, images at a time.

        Returns:
            float32 arrays: features `(n, d)`, and class probabilities `(n, K)`.
        """
        features, logits = (
            np.concatenate(outputs)
            for outputs in zip(
                *self._outputs(self.discriminator, images, batch_size),
                strict=True,
            )
        )
        probabilities = losses.class_probabilities(logits)
        return features.astype("float32"), ops.convert_to_numpy(probabilities)

    def _outputs(self, network, images, batch_size):
        """Yields what a network makes of preprocessed images, in batches."""
        for start in range(0, len(images), batch_size):
            batch = self.preprocess(images[start : start + batch_size])
            yield _predict(network, ops.convert_to_numpy(batch), batch_size)

    # === Testing ===

    @trainer_step
    def test_step(self, data: Any) -> Any:
        """Cross-entropy and accuracy of the labelled images."""
        images, labels, mask = self._unpack(data)
        _, logits = self.discriminator(images, training=False)
        logs = self._update_class_metrics(images, labels, mask, logits)
        for metric in self.d_metrics + self.g_metrics:
            del logs[metric.name]
        return logs

    def _get_metrics_result_or_logs(self, logs):
        # Keras would give the logs of the last step, where they lack a metric:
        # of several devices on TensorFlow the mean of what each of them has,
        # be it no image at all. The metrics themselves add up the images.
        # What a `train_step` of the user's logs besides is as it is.
        return logs | {
            name: result
            for name, result in self.get_metrics_result().items()
            if name in logs
        }

    def _update_class_metrics(self, images, labels, mask, logits):
        """Updates the metrics of the labelled images; returns all logs."""
        logits = ops.cast(losses.class_logits(logits), "float32")
        cross_entropy = ops.sparse_categorical_crossentropy(
            labels, logits, from_logits=True
        )
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(cross_entropy, sample_weight=mask)
        return self.compute_metrics(images, labels, ops.softmax(logits), mask)

    def _unpack(self, data):
        """Batch of a dataset to images, labels, and their weights.

        Returns:
            Float32 images `(batch, *image_shape)`, a float32 mask `(batch,)`
            that is 0 where there is no label and NaN where one is of no class,
            and int32 labels `(batch,)`, which are 0 where the mask is; in the
            order images, labels, mask.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        checks.check_has_labels(labels)
        checks.check_no_one_hot(labels)
        labels = ops.reshape(labels, (-1,))
        # Before they become integers, which a label that is NaN may not be.
        mask = ops.cast(labels >= 0, "float32")
        labels = ops.cast(labels, "int32")
        if weights is not None:
            mask *= ops.reshape(ops.cast(weights, "float32"), (-1,))
        # From here on no label is seen that the mask hides.
        labels = ops.where(mask > 0, labels, 0)
        # Where a backend raises no error, it would go by without a word.
        mask = ops.where(labels < self.num_classes, mask, float("nan"))
        return self.preprocess(images), labels, mask

    # === Saving ===

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "discriminator": serialize(self.discriminator),
            "generator": serialize(self.generator),
            "real_fake": self.real_fake,
            "feature_matching": self.feature_matching,
            "consistency": self.consistency,
            "augmentation": serialize(self.augmentation),
            "learning_rate": serialize(self.learning_rate),
            "ema_momentum": self.ema_momentum,
            "seed": self.seed,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> Self:
        config = dict(config)
        objects = (
            "discriminator",
            "generator",
            "augmentation",
            "learning_rate",
        )
        for key in objects:
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects
            )
        return cls(**config)

    def _random_states(self):
        """Variables of the seed generators, which Keras does not save."""
        saved = {id(variable) for variable in self.weights}
        return [v for v in self.non_trainable_variables if id(v) not in saved]

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self._random_states()):
            store[f"random_state_{i}"] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self._random_states()):
            # Dropout or an augmentation that is new has a seed of its own.
            if f"random_state_{i}" in store:
                variable.assign(store[f"random_state_{i}"])


def _means(total, *parts):
    names = [total, *(f"{total}_{part}" for part in parts)]
    return [keras.metrics.Mean(name) for name in names]


def _weighted_sum(weights, parts):
    # A chain of additions TensorFlow would order anew each time it compiles,
    # and a run that is resumed would log another last digit.
    weighted = [w * part for w, part in zip(weights, parts, strict=True)]
    return ops.sum(ops.stack(weighted))


def _predict(network, inputs, batch_size):
    """What a network makes of an array, on one device."""
    network.make_predict_function()
    function = network.predict_function
    network.predict_function = keeps_state(network, function)
    try:
        with distribution.undistributed():
            return network.predict(inputs, batch_size, verbose=0)
    finally:
        network.predict_function = function


def _statistics(network):
    """Variables that a pass in training mode may change."""
    return [
        variable
        for layer in network._flatten_layers()
        # Weights that are frozen are no statistics, and neither change.
        if layer.trainable
        for variable in layer._non_trainable_variables
    ]


@contextlib.contextmanager
def _preserved(variables):
    """Gives variables their values back on leaving.

    For passes in training mode that the discriminator's moving statistics
    should not notice.
    """
    values = [ops.copy(variable.value) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _as_array(data):
    """A tensor as an array, which is looked at; all else as it is."""
    return ops.convert_to_numpy(data) if ops.is_tensor(data) else data


def _seen_labels(labels=None, weights=None):
    """Labels with -1 for those that a mask hides, which may be anything."""
    weights = _as_array(weights)
    if (
        weights is not None
        and isinstance(labels, np.ndarray)
        and labels.dtype.kind in "ui"
        and np.size(weights) == labels.size
    ):
        seen = np.reshape(weights, labels.shape) > 0
        return np.where(seen, labels.astype("int64"), -1)
    return labels


def _warn_of_one_class(labels):
    """Warns of labels 1 and -1, say, of which one means "no label"."""
    if not isinstance(labels, np.ndarray):
        return
    classes = np.unique(labels[labels >= 0])
    if len(classes) == 1:
        warnings.warn(
            f"all labelled images are of class {classes[0]}, and -1 is for "
            "those without a label; number the classes 0, 1 and so on",
            stacklevel=3,
        )


def _check_networks(discriminator, generator):
    for network in (discriminator, generator):
        if not getattr(network, "outputs", None):
            raise InputError(
                f"the {type(network).__name__} {network.name!r} does not say "
                "what it takes and gives; pass a functional keras.Model, or a "
                "keras.Sequential that begins with keras.Input"
            )
    outputs = discriminator.output
    if not isinstance(outputs, list | tuple) or [
        len(x.shape) for x in outputs
    ] != [2, 2]:
        shapes = keras.tree.map_structure(lambda x: x.shape, outputs)
        raise InputError(
            "the discriminator has to return [features, logits], of shapes "
            f"(batch, d) and (batch, K + 1); received {shapes}"
        )
    num_logits = discriminator.output_shape[1][-1]
    if num_logits < 3:
        raise InputError(
            "the discriminator has to tell two classes or more, with a logit "
            f"for each and one for real/fake; received {num_logits} logit(s)"
        )
    if discriminator.input_shape != generator.output_shape:
        raise InputError(
            "the generator has to draw what the discriminator takes; received "
            f"{generator.output_shape[1:]} and {discriminator.input_shape[1:]}"
        )
    if len(generator.input_shape) != 4 or generator.input_shape[1:3] != (1, 1):
        raise InputError(
            "the generator has to take latents (batch, 1, 1, latent_dim); "
            f"received the input shape {generator.input_shape}"
        )
    layers = discriminator._flatten_layers() + generator._flatten_layers()
    if (
        discriminator.losses
        or generator.losses
        or any(getattr(x, "activity_regularizer", None) for x in layers)
    ):
        raise InputError(
            "regularisation losses of layers are not part of the method; "
            "give the optimizers a weight_decay instead"
        )
