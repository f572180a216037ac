"""The LeNets of the cluster-pruning paper: configuration and network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from hf_select.errors import ArgumentError

__all__ = ["LENET_LAYERS", "LeNetConfig", "LeNetForAudioClassification"]

POOLING = 2  # every convolution is followed by an average over 2 x 2
LENET_LAYERS: dict[str, dict[str, list[Any]]] = {
    "large": {"conv_channels": [6, 16], "conv_kernels": [[2, 2], [5, 3]], "dense_sizes": [120, 84]},
    "small": {"conv_channels": [3, 8, 16], "conv_kernels": [[2, 2], [5, 3], [5, 3]], "dense_sizes": [84]},
    "tiny": {"conv_channels": [4, 8, 8, 16], "conv_kernels": [[2, 2], [2, 2], [4, 2], [4, 2]], "dense_sizes": []},
}


class LeNetConfig(PreTrainedConfig):
    """Describe a LeNet on MFCC: one of the paper's three sizes, or layers of your own.

    Args:
        size: "large" (268,270 parameters at 36 labels), "small" (29,655; the default), "tiny" (3,480), or "custom",
            which the three layer lists imply.
        num_frames, num_mfcc: the input, frames x coefficients, from 1: 99 x 32 is one second as the paper has it.
        conv_channels: channels of every convolution. Convolutions are valid (no padding), each followed by ReLU and an
            average over 2 x 2.
        conv_kernels: `[frames, coefficients]` of every kernel, as many as there are channels.
        dense_sizes: widths of the dense layers between the convolutions and the classifier; may be empty.
        dropout: share of values dropped before every dense layer, from 0 (none) to under 1.
        kwargs: num_labels, id2label, label2id and the like, as in every transformers config (2 labels by default).

    Raises:
        ValueError: layers that contradict `size` or each other, or an input that is too small for the convolutions.

    Reference: the cluster-pruning paper, section 3.
    Relations: "small" has more convolutions and fewer weights than "large"; "tiny" has no dense layer before the last.

    >>> LeNetConfig(size="tiny").feature_maps
    [(49, 15), (24, 7), (10, 3), (3, 1)]
    >>> LeNetConfig(size="tiny", num_frames=199).feature_maps[-1]
    (10, 1)
    """

    model_type = "hf_select_lenet"

    def __init__(
        self,
        size: str | None = None,
        num_frames: int = 99,
        num_mfcc: int = 32,
        conv_channels: Sequence[int] | None = None,
        conv_kernels: Sequence[Sequence[int]] | None = None,
        dense_sizes: Sequence[int] | None = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        lists = {"conv_channels": conv_channels, "conv_kernels": conv_kernels, "dense_sizes": dense_sizes}
        given = [name for name, values in lists.items() if values is not None]
        if given and len(given) < len(lists):
            raise ArgumentError(f"Give {', '.join(lists)} together, or only a size; got {', '.join(given)}.")
        self.size = size or ("custom" if given else "small")
        layers: Mapping[str, Any] = lists if given else LENET_LAYERS.get(self.size, {})
        self.conv_channels: list[int] = list(layers.get("conv_channels", []))
        self.conv_kernels: list[list[int]] = [list(np.atleast_1d(k).tolist()) for k in layers.get("conv_kernels", [])]
        self.dense_sizes: list[int] = list(layers.get("dense_sizes", []))
        self.num_frames, self.num_mfcc, self.dropout = num_frames, num_mfcc, dropout
        super().__init__(**kwargs)
        self.check_layers()

    @property
    def feature_maps(self) -> list[tuple[int, int]]:
        """Return (frames, coefficients) after every convolution and its pooling."""
        maps, height, width = [], self.num_frames, self.num_mfcc
        for kernel in self.conv_kernels:
            height, width = (height - kernel[0] + 1) // POOLING, (width - kernel[1] + 1) // POOLING
            maps.append((max(height, 0), max(width, 0)))
        return maps

    @property
    def flat_size(self) -> int:
        """Return how many numbers the convolutions hand to the first dense layer."""
        height, width = self.feature_maps[-1]
        return self.conv_channels[-1] * height * width

    def check_layers(self) -> None:
        """Raise a ValueError where the model can't be built. The model asks again, since a config can be edited."""
        names = ("conv_channels", "conv_kernels", "dense_sizes")
        layers = {name: getattr(self, name) for name in names}
        if self.size not in (*LENET_LAYERS, "custom") or not self.conv_channels:
            sizes = ", ".join(map(repr, LENET_LAYERS))
            raise ArgumentError(f"size={self.size!r} has no layers: choose one of {sizes}, or give {', '.join(names)}.")
        if self.size != "custom" and layers != LENET_LAYERS[self.size]:
            raise ArgumentError(
                f"These are not the layers of size {self.size!r}: {layers}. Give the layers or the size."
            )
        if len(self.conv_channels) != len(self.conv_kernels) or any(len(kernel) != 2 for kernel in self.conv_kernels):
            raise ArgumentError(
                f"Every convolution needs its channels and a kernel of two sides, and these are {layers}."
            )
        sides = [side for kernel in self.conv_kernels for side in kernel]
        numbers = [*self.conv_channels, *sides, *self.dense_sizes, self.num_frames, self.num_mfcc]
        if any(type(number) is not int or number < 1 for number in numbers):
            shape = f"num_frames={self.num_frames!r}, num_mfcc={self.num_mfcc!r}"
            raise ArgumentError(f"Sizes are whole numbers of at least 1, and these are {layers}, {shape}.")
        if not 0 <= self.dropout < 1:
            raise ArgumentError(f"dropout must be from 0 to under 1, and is {self.dropout!r}.")
        if not self.num_labels:
            raise ArgumentError("num_labels must be at least 1, and is 0.")
        if 0 in self.feature_maps[-1]:
            raise ArgumentError(
                f"{self.num_frames} frames x {self.num_mfcc} coefficients are too small an input for the kernels "
                f"{self.conv_kernels}: after each convolution and pooling there remain {self.feature_maps}. Raise "
                "num_frames or num_mfcc, or use fewer convolutions."
            )


class LeNetForAudioClassification(PreTrainedModel):
    """Classify MFCC matrices of a fixed size: convolutions with ReLU and average pooling, then dense layers.

    Reads `input_features`, float (batch, num_frames, num_mfcc), or flat (batch, num_frames * num_mfcc), which a data
    loader reads faster, and `labels`, int64 (batch,). `LeNetFeatureExtractor` makes them.

    Reference: the cluster-pruning paper, section 3; the recipe stands at the top of this module.
    Relations: the three sizes share this class; `LeNetConfig` tells them apart.

    >>> model = LeNetForAudioClassification(LeNetConfig(size="large", num_labels=36))
    >>> f"{model.num_parameters():,}"
    '268,270'
    """

    config_class = LeNetConfig
    config: LeNetConfig
    base_model_prefix = "lenet"
    main_input_name = "input_features"
    input_modalities = "audio"

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__(config)
        config.check_layers()
        channels, widths = [1, *config.conv_channels], [config.flat_size, *config.dense_sizes]
        kernels = [(frames, coefficients) for frames, coefficients in config.conv_kernels]
        self.convolutions = nn.ModuleList(map(nn.Conv2d, channels, channels[1:], kernels))
        self.dense = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(widths[-1], config.num_labels or 0)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start weights as He's uniform, which keeps the variance through ReLU layers, and biases at zero."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Return logits, the loss where labels are given, and the activations where they are asked for.

        Args:
            input_features: float (batch, num_frames, num_mfcc), or flat (batch, num_frames * num_mfcc).
            labels: int64 (batch,), from 0 to num_labels - 1.
            output_hidden_states: also return the activations after every pooling and every dense layer; the last one,
                flattened, is what the classifier sees (before dropout).
            kwargs: passed to the loss (the Trainer gives `num_items_in_batch`).

        Raises:
            ValueError: no input, or one of another size than the config says.
        """
        hidden = self._as_images(input_features)
        states = []
        for convolution in self.convolutions:
            hidden = nn.functional.avg_pool2d(nn.functional.relu(convolution(hidden)), POOLING)
            states.append(hidden)
        hidden = hidden.flatten(1)
        for dense in self.dense:
            hidden = nn.functional.relu(dense(self.dropout(hidden)))
            states.append(hidden)
        logits = self.classifier(self.dropout(hidden))
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=tuple(states) if wanted else None)

    def _as_images(self, features: torch.Tensor | None) -> torch.Tensor:
        """Return the input as (batch, 1, num_frames, num_mfcc) in the dtype of the weights."""
        frames, mfcc = self.config.num_frames, self.config.num_mfcc
        if features is None or tuple(features.shape[1:]) not in ((frames, mfcc), (frames * mfcc,)):
            seen = "nothing" if features is None else f"shape {tuple(features.shape)}"
            raise ArgumentError(
                f"This model reads input_features of shape (batch, {frames}, {mfcc}) and got {seen}. Make them with "
                f"LeNetFeatureExtractor(num_frames={frames}, feature_size={mfcc}), or build the model for your input."
            )
        return features.reshape(-1, 1, frames, mfcc).to(self.dtype)
