"""The real clients, in as few words as the tests need."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

REPO = "me/corpus"


def rows(*numbers: int):
    from datasets import Dataset

    return Dataset.from_dict({"x": list(numbers)})


def put(path: str, data: bytes = b"text") -> CommitOperationAdd:
    return CommitOperationAdd(path, data)


def commit(*operations, name: str = REPO, **kwargs):
    return HfApi().create_commit(name, operations, commit_message="a change", repo_type="dataset", **kwargs)


def status(call, *args, **kwargs) -> int:
    """Return the status that a call is refused with."""
    with pytest.raises(HfHubHTTPError) as caught:
        call(*args, **kwargs)
    return caught.value.response.status_code
