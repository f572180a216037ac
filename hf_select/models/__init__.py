"""Small classifiers on MFCC with which a subset is judged in seconds: the LeNets of the cluster-pruning paper.

Importing this module registers them: `AutoConfig`, `AutoModelForAudioClassification`, `AutoFeatureExtractor` and
`AutoProcessor` then know `model_type: "hf_select_lenet"`. From sound to a trained model:

    extractor = LeNetFeatureExtractor()
    ds = with_columns(ds, extractor.mfcc())     # decode once: a thin column `mfcc`
    extractor.fit(ds["mfcc"])                   # means and deviation of the training rows
    train = extractor.inputs(ds)                # input_features and labels, as the Trainer wants them
    model = LeNetForAudioClassification(LeNetConfig(size="tiny", num_labels=12))
    Trainer(model, args, train_dataset=train, processing_class=extractor).train()

Paper's recipe: Adam at 5e-3, batches of 512, up to 170 epochs, the rate reduced when the validation loss stands still,
early stopping. As `TrainingArguments`: `learning_rate=5e-3, weight_decay=0.0, per_device_train_batch_size=512,
num_train_epochs=170, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch", save_strategy="epoch",
metric_for_best_model="eval_loss", load_best_model_at_end=True`, with an `EarlyStoppingCallback`. `train_and_test` does
the same without the Trainer, for many small networks one after the other or one in each process.

Ours, since the paper is silent: dropout stands before every dense layer, weights start as He's uniform, frames last
20 ms and come every 10 ms, coefficients are centred and share one deviation, short clips are filled up with mean frames.

Reference: the cluster-pruning paper, section 3 (networks of 3.5k, 29k and 270k parameters), the layers from its code.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, AutoProcessor

from hf_select.models.extractor import LeNetFeatureExtractor, pad_frames
from hf_select.models.lenet import LENET_LAYERS, LeNetConfig, LeNetForAudioClassification
from hf_select.models.training import Trained, train_and_test

__all__ = [
    "LENET_LAYERS",
    "LeNetConfig",
    "LeNetFeatureExtractor",
    "LeNetForAudioClassification",
    "Trained",
    "pad_frames",
    "train_and_test",
]

AutoConfig.register(LeNetConfig.model_type, LeNetConfig, exist_ok=True)
AutoModelForAudioClassification.register(LeNetConfig, LeNetForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(LeNetConfig, LeNetFeatureExtractor, exist_ok=True)
AutoProcessor.register(LeNetConfig, LeNetFeatureExtractor, exist_ok=True)
