"""Members as readers return them, and sweeps on disk that were never trained."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig, MemberSummary
from losa.pipelines.report.inputs import Member
from losa.pipelines.result_rows import ResultRow, ranked
from losa.pipelines.results_file import write_results

MakeMember = Callable[..., Member]
MakeSweep = Callable[..., Path]


@pytest.fixture(scope="session")
def make_member() -> MakeMember:
    """``make_member(accuracy, kind, seed, task, split, **changes)``: a member of a task ``pets``."""

    def make(
        accuracy: float | None = 0.5,
        kind: str = "losa",
        seed: int = 0,
        task: str = "pets",
        split: str = "test",
        **changes: Any,
    ) -> Member:
        found = {} if accuracy is None else {split: accuracy}
        fields = {"parameters": 100, "seconds": 1.5, "options": {}, **changes}
        return Member(task=task, kind=kind, seeds=(str(seed),), accuracy=found, **fields)

    return make


@pytest.fixture(scope="session")
def make_sweep(make_summary: Callable[..., MemberSummary]) -> MakeSweep:
    """``make_sweep(folder, configs, accuracies, failed)``: members with summaries, metrics and confusions."""

    def make(
        folder: Path,
        configs: Sequence[AdaptConfig],
        accuracies: Sequence[float],
        failed: Sequence[ResultRow] = (),
        **changes: Any,
    ) -> Path:
        rows = []
        for config, accuracy in zip(configs, accuracies, strict=True):
            member = folder / config.member_name
            member.mkdir(parents=True)
            summary = make_summary(
                config,
                accuracy=dict.fromkeys(config.eval_splits, accuracy),
                cache={"path": config.cache, "dataset": Path(config.cache).name, "features_sha256": "0" * 64},
                options={
                    name: value for name, value in asdict(config).items() if name not in config.idle_options
                },
                folder=str(member.relative_to(folder.parent)),
                **changes,
            )
            (member / "summary.json").write_text(json.dumps(summary.to_json()))
            epochs = [{"epoch": number, "train_loss": 1.0 / (number + 1)} for number in range(config.epochs)]
            (member / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in epochs))
            confusion = {
                "classes": {"label": ["cat", "dog"]},
                "splits": {split: {"label": [[0, 0, 3], [1, 0, 1]]} for split in config.eval_splits},
            }
            (member / "confusion.json").write_text(json.dumps(confusion))
            rows.append(ResultRow.from_summary(summary))
        write_results(folder / "results.csv", ranked([*rows, *failed]))
        return folder

    return make
