"""What TensorFlow and Keras ask a network when they save or export it: the shapes of its inputs."""

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf

from diffusion_tf.models.recomputation import plain_gradients
from diffusion_tf.utils.keras_backend import keras


def input_specs(model: keras.Model, t_dtype: tf.DType = tf.int32) -> list[tf.TensorSpec]:
    """Names, shapes and dtypes of x, t and, of a conditional network, y; any batch.

    Args:
        model: a network of this package.
        t_dtype: int32 or int64; that of labels, too.

    Raises:
        ValueError: the network is not built, or takes all image sizes.
    """
    if not model.built or getattr(model, "image_size", 0) is None:
        raise ValueError(
            "A network is exported for one image size, and this one"
            f" {'takes all of them' if model.built else 'is not built yet'}; build it with"
            " build([(None, H, W, C), (None,)])."
        )
    x_shape = model.get_build_config()["input_shape"][0]
    specs = [
        tf.TensorSpec([None, *x_shape[1:]], tf.float32, "x"),
        tf.TensorSpec([None], t_dtype, "t"),
    ]
    num_classes, cond_dim = (getattr(model, n, 0) for n in ("num_classes", "cond_dim"))
    if num_classes:
        specs.append(tf.TensorSpec([None], t_dtype, "y"))
    if cond_dim:
        specs.append(tf.TensorSpec([None, cond_dim], tf.float32, "y"))
    return specs


class Saved(keras.Model):
    """A network that can be exported as it is: Keras would take every input for a float."""

    @property
    def _default_save_signature(self) -> Any:  # of `tf.saved_model.save`
        if not self.built or getattr(self, "image_size", 0) is None:
            return None

        @tf.function(input_signature=[input_specs(self)], autograph=False)
        def serving_default(inputs: list[tf.Tensor]) -> tf.Tensor:
            return self(inputs, training=False)

        return serving_default

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",
        *,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keras's `export`, with t as int32 where no signature says otherwise, and without dropout.

        `convert.exporting` writes more: a whole sampler, too.

        Args:
            filepath, format, **kwargs: of `keras.Model.export`.
            input_signature: of the list [x, t] or [x, t, y].

        Raises:
            ValueError: the network is not built, or takes all image sizes.
        """
        signature = input_signature or [input_specs(self)]
        with plain_gradients():
            if format != "tf_saved_model":
                super().export(filepath, format, input_signature=signature, **kwargs)
                return
            archive = keras.export.ExportArchive()
            archive.track(self)
            call = functools.partial(self.__call__, training=False)
            archive.add_endpoint("serve", call, signature)
            archive.write_out(filepath, **kwargs)
