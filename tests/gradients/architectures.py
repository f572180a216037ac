"""Small real models of each architecture, with inputs, masks among them."""

from __future__ import annotations

import torch
import transformers as tr

from hf_select.models import LeNetConfig, LeNetForAudioClassification

SAMPLES, CLASSES = 5, 4
_BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_HEAD = {"num_labels": CLASSES, "classifier_proj_size": 16}
_EARS = {
    "conv_dim": (16, 16, 16), "conv_stride": (5, 4, 2), "conv_kernel": (10, 8, 3), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_WAVES = {**_BODY, **_HEAD, **_EARS}
_XVECTOR = {"tdnn_dim": (24, 24, 40), "tdnn_kernel": (5, 3, 1), "tdnn_dilation": (1, 2, 1), "xvector_output_dim": 6}
_WHISPER = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "num_mel_bins": 16,
    "max_source_positions": 100, "pad_token_id": 0, **_HEAD,
}  # fmt: skip
_AST = {
    **_BODY,
    "num_labels": CLASSES,
    "num_mel_bins": 32,
    "max_length": 64,
    "patch_size": 8,
    "time_stride": 6,
    "frequency_stride": 6,
}

WAVES = {
    "wav2vec2": lambda: tr.Wav2Vec2ForSequenceClassification(tr.Wav2Vec2Config(**_WAVES)),
    "wav2vec2 layer norm": lambda: tr.Wav2Vec2ForSequenceClassification(tr.Wav2Vec2Config(**_WAVES, **_LAYER)),
    "hubert": lambda: tr.HubertForSequenceClassification(tr.HubertConfig(**_WAVES)),
    "hubert batch norm": lambda: tr.HubertForSequenceClassification(
        tr.HubertConfig(**_WAVES, conv_pos_batch_norm=True)
    ),
    "wavlm": lambda: tr.WavLMForSequenceClassification(tr.WavLMConfig(**_WAVES)),
    "wavlm layer norm": lambda: tr.WavLMForSequenceClassification(tr.WavLMConfig(**_WAVES, **_LAYER)),
    "x-vector": lambda: tr.Wav2Vec2ForXVector(tr.Wav2Vec2Config(**_WAVES, **_XVECTOR)),
}
OTHERS = {
    "whisper": (lambda: tr.WhisperForAudioClassification(tr.WhisperConfig(**_WHISPER)), "input_features", (16, 200)),
    "ast": (lambda: tr.ASTForAudioClassification(tr.ASTConfig(**_AST)), "input_values", (64, 32)),
    "lenet tiny": (lambda: LeNetForAudioClassification(LeNetConfig(size="tiny", num_labels=CLASSES)), "input_features", (99, 32)),
    "lenet large": (lambda: LeNetForAudioClassification(LeNetConfig(size="large", num_labels=CLASSES)), "input_features", (99, 32)),
}  # fmt: skip
NAMES = [*WAVES, *(f"{name}, masked" for name in WAVES), *OTHERS]


def make(name: str, dtype: torch.dtype = torch.float64, samples: int = SAMPLES):
    """Return (model in evaluation mode, batch)."""
    torch.manual_seed(0)
    kind, _, masked = name.partition(", ")
    if kind in WAVES:
        model, batch = WAVES[kind](), {"input_values": torch.randn(samples, 4000).to(dtype)}
        if masked:
            lengths = torch.tensor([4000, 2500, 3999, 1200, 800])[:samples]
            mask = torch.arange(4000) < lengths[:, None]
            batch = {"input_values": batch["input_values"] * mask, "attention_mask": mask.long()}
    else:
        build, key, shape = OTHERS[kind]
        model, batch = build(), {key: torch.randn(samples, *shape).to(dtype)}
    with torch.no_grad():  # away from zeros and ones that models start with
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.to(dtype).eval(), batch
