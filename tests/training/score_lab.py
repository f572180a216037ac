"""Under torchrun: acquire from sound by `hs.score` inside a training; what each rank acquired goes to FOLDER/rounds-<rank>.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import lab
import torch
from transformers import Trainer

import hf_select as hs


def main(folder: str) -> None:
    torch.set_num_threads(1)
    ds, model, extractor = lab.sounds(20)
    ready = ds.with_transform(hs.AudioInputs(extractor, label_column="label"))
    view = hs.ActiveView(ready, range(8), 8)

    def uncertain(model, pool):
        return hs.select_by_score(hs.score(pool, model, extractor, columns="entropy"), budget=3, column="entropy")

    def pad(items):
        batch = extractor.pad([{"input_values": item["input_values"]} for item in items], return_tensors="pt")
        return {**batch, "labels": torch.tensor([item["labels"] for item in items])}

    callback = hs.AcquisitionCallback(view, acquire=uncertain)
    args = lab.arguments(folder, num_train_epochs=3, per_device_train_batch_size=2)
    Trainer(model, args, train_dataset=view, data_collator=pad, callbacks=[callback]).train()
    rank = os.environ.get("RANK", "0")
    Path(folder, f"rounds-{rank}.json").write_text(json.dumps(callback.rounds_done))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
