from __future__ import annotations


def test_push(hub):
    import datasets

    ds = datasets.Dataset.from_dict({"x": list(range(10))})
    ds.push_to_hub("me/a", "one")
    ds.select(range(5)).push_to_hub("me/a", "two")
    assert len(datasets.load_dataset("me/a", "two", split="train")) == 5
    assert [r["x"] for r in datasets.load_dataset("me/a", "one", split="train", streaming=True)] == list(range(10))
    for s in hub.log:
        print(s.index, s.host, s.method, s.path, s.status, len(s.body))
    print(hub.files("me/a").keys())
