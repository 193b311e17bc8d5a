"""losa-bench fused in tiny shapes: its output, and that methods compute the same; not their speed."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from losa.adapt import make_group
from losa.adapt.streams import FrozenFeatures
from losa.cache_format import LosaError
from losa.pipelines.bench import matrix_rate
from losa.pipelines.bench.fused import benchmark, worker
from losa.pipelines.bench.fused.benchmark import FusedBenchmark
from losa.pipelines.bench.fused.flops import useful_flops
from losa.pipelines.bench.fused.methods import METHODS, make_batch, make_plain, make_trainer
from losa.pipelines.bench.fused.setting import Setting, needed_bytes

TINY = Setting(
    method="factored",
    dtype="float32",
    members=2,
    rank=4,
    heads=2,
    sites=3,
    tokens=5,
    width=8,
    depth=1,
    batch=7,
    micro_batch_size=3,
    steps=1,
)
OPTIONS = "--rank 4 --heads 2 --sites 2 --tokens 5 --width 8 --depth 1 --batch 3 --steps 2 --threads 1"
KEYS = {
    "method",
    "dtype",
    "emulated",
    "members",
    "seconds_per_member_step",
    "least_seconds_per_member_step",
    "seconds_per_epoch",
    "peak_bytes",
    "tensor_bytes",
    "shape",
    "side",
    "dispatches",
    "kernels",
    "flops_per_second",
    "bytes_per_second",
    "speedup_vs_plain",
    "fraction_of_matmul_peak",
    "note",
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(benchmark, "_ask", lambda request, seconds: worker._answer(request))
    monkeypatch.setattr(matrix_rate, "LARGE_SIZES", {"cpu": ()})


def filled(setting):
    """A factored network of one member and the plain one, with the same nonzero parameters."""
    (group,) = make_trainer(setting, *make_batch(setting)).groups
    factored, plain = group.network.double(), make_plain(setting).double()
    plain._dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    state = {}
    with torch.no_grad():
        for name, parameter in factored.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
            state |= of_plain(name, parameter[0])
    assert set(state) == {name for name, _ in plain.named_parameters()}
    plain.load_state_dict(state)
    return factored, plain


def of_plain(name, parameter):
    """Names and values of the plain network's parameters that a parameter of a member contains."""
    if name.startswith("head."):
        return {name: parameter.T if parameter.ndim == 2 else parameter}
    return {f"layers.{layer}.{name}": each for layer, each in enumerate(parameter)}


@pytest.mark.parametrize("norm", ["frozen", "none", "layer"])
@pytest.mark.parametrize("side", ["losa", "last", "relay"])
def test_plain_is_a_side_network_of_one_member(side, norm):
    setting = replace(TINY, side=side, norm=norm, members=1)
    factored, plain = filled(setting)
    activations, labels = make_batch(setting)
    activations = activations.double()
    scores = factored(FrozenFeatures(activations, torch.float64))
    functional.cross_entropy(scores[0], labels).backward()
    functional.cross_entropy(found := plain(activations), labels).backward()
    torch.testing.assert_close(found, scores[0])
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in factored.named_parameters():
        for of_plain_name, expected in of_plain(name, parameter.grad[0]).items():
            torch.testing.assert_close(gradients[of_plain_name], expected, msg=of_plain_name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("side", ["losa", "last", "relay"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch loops over vmap's attention
@pytest.mark.parametrize("method", METHODS)
def test_a_step_trains(method, side, dtype, monkeypatch):
    if method == "lora":
        pytest.importorskip("peft")
    trained = []
    adamw = torch.optim.AdamW

    def spy(parameters, **options):
        trained.extend(parameters := list(parameters))
        return adamw(parameters, **options)

    def spy_on_group(*arguments):
        group = make_group(*arguments)
        trained.extend(group.network.parameters())
        return group

    monkeypatch.setattr("losa.pipelines.bench.fused.methods.AdamW", spy)
    monkeypatch.setattr("losa.pipelines.bench.fused.methods.make_group", spy_on_group)
    setting = replace(TINY, method=method, side=side, dtype=dtype)
    step = METHODS[method](setting, *make_batch(setting))
    before = [parameter.detach().clone() for parameter in trained]
    for _ in range(2):  # in the first, zero up-projections stop the gradient of down-projections
        step()
    assert before
    assert all(not torch.equal(parameter, old) for parameter, old in zip(trained, before, strict=True))


def test_the_command_says_what_it_measured(command, tmp_path, in_this_process):
    pytest.importorskip("peft")
    options = [*OPTIONS.split(), "--members", "1", "--members", "2", "--json"]
    done = command(tmp_path, "losa-bench", "fused", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(row["dtype"], row["method"], row["members"]) for row in found["rows"]] == [
        (dtype, method, members)
        for dtype in ("float32", "bfloat16")
        for method, members in (
            ("factored", 1),
            ("factored", 2),
            ("plain", 1),
            ("vmap", 1),
            ("vmap", 2),
            ("lora", 1),
        )
    ]
    for row in found["rows"]:
        assert set(row) == KEYS
        assert row["note"] is None
        assert row["emulated"] in ((False, True) if row["dtype"] == "bfloat16" else (False,))
        positive = {key for key in KEYS if "second" in key or key.endswith(("plain", "peak"))}
        if row["method"] != "factored":
            positive.remove("bytes_per_second")
            assert row["bytes_per_second"] is None
        assert all(row[key] > 0 for key in positive)
        assert row["dispatches"] > row["kernels"] > 0
        assert row["speedup_vs_plain"] == 1 or row["method"] != "plain"
        assert row["seconds_per_epoch"] == pytest.approx(row["seconds_per_member_step"] * 1000 / 3)
    assert set(found["machine"]["matmul_flops_per_second"]) == {"float32", "bfloat16"}


def test_each_measurement_has_a_process_of_its_own(command, tmp_path, forked_modules):
    done = command(
        tmp_path, "losa-bench", "fused", *OPTIONS.split(), "--method", "plain", "--dtype", "float32", "--json"
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["peak_bytes"] is None or row["peak_bytes"] >= 0
    assert row["seconds_per_member_step"] > 0


def test_what_does_not_fit_says_so(command, tmp_path, monkeypatch, in_this_process):
    monkeypatch.setattr(benchmark, "free_in_ram", lambda: 3_000_000)
    options = [
        *OPTIONS.split(),
        "--method",
        "plain",
        "--method",
        "vmap",
        "--dtype",
        "float32",
        "--members",
        "9999",
    ]
    done = command(tmp_path, "losa-bench", "fused", *options)
    assert done.returncode == 0, done.stderr
    assert "does not fit (" in done.stdout
    row = json.loads(command(tmp_path, "losa-bench", "fused", *options, "--json").stdout)["rows"][1]
    assert row["note"].startswith("does not fit (")
    assert all(row[key] is None for key in KEYS if "second" in key)


@pytest.mark.parametrize("answer", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_running_out_of_memory_is_an_answer(monkeypatch, in_this_process, answer):
    def fail(setting):
        raise answer

    monkeypatch.setattr(worker, "measure", fail)
    assert benchmark._measure(TINY, 1e9)["note"].startswith("does not fit (")


def test_a_killed_process_had_no_memory(monkeypatch):
    class Killed:
        returncode = -9

    monkeypatch.setattr(benchmark.subprocess, "run", lambda *arguments, **options: Killed())
    assert benchmark._measure(TINY, 1e9)["note"].startswith("does not fit (")


def test_a_row_tells_that_peft_is_missing(monkeypatch):
    monkeypatch.setattr(benchmark, "peft_is_installed", lambda: False)
    assert benchmark._measure(replace(TINY, method="lora"), 1e9) == {"note": benchmark.NO_PEFT}


@pytest.fixture
def emulated(monkeypatch, in_this_process):
    """Bfloat16 of a tenth of a GFLOP per second, where float32 has a hundred."""
    rates = {
        "float32": matrix_rate.MatrixRate(1e11, emulated=False),
        "bfloat16": matrix_rate.MatrixRate(1e8, emulated=True),
    }
    monkeypatch.setattr(worker, "measure_matrix_rate", lambda dtype, device: rates[dtype])


def test_an_emulated_dtype_is_told_and_slow_steps_are_not_run(command, tmp_path, emulated, monkeypatch):
    monkeypatch.setattr(
        worker, "measure", lambda setting: {"seconds": [1.0], "peak_bytes": None, "tensor_bytes": None}
    )
    options = ["--method", "plain", "--method", "factored", "--members", "1", "--members", "512"]
    options += ["--rank", "4", "--sites", "2", "--width", "64", "--batch", "50", "--micro-batch", "1"]
    done = command(tmp_path, "losa-bench", "fused", *options, "--json")
    assert done.returncode == 0, done.stderr
    rows = {(row["dtype"], row["method"], row["members"]): row for row in json.loads(done.stdout)["rows"]}
    assert {key for key, row in rows.items() if row["emulated"]} == {key for key in rows if "bfloat16" in key}
    notes = {key: row["note"] for key, row in rows.items() if row["note"] is not None}
    assert list(notes) == [("bfloat16", "factored", 512)]
    (note,) = notes.values()
    assert note.startswith("not run: a step would take about ")
    assert note.endswith(" s (--seconds 180)")
    shown = command(tmp_path, "losa-bench", "fused", *options).stdout
    assert f"factored in emulated bfloat16, losa 2 x 197 x 64, members 512: {note}" in shown
    assert "Emulated: products of 256 x 256 take more than 2 times as long as in float32." in shown


def test_a_process_that_takes_too_long_is_stopped(monkeypatch):
    def run(command, *, timeout, **options):
        raise benchmark.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    expected = {"note": "stopped after 125 s (--seconds 5)"}
    assert benchmark._measure(replace(TINY, seconds=5.0), 1e9) == expected
    with pytest.raises(LosaError, match="the rate of matrix products in float32 could not be measured"):
        FusedBenchmark(methods=["plain"], dtypes=["float32"]).run()


@pytest.mark.parametrize(("seconds", "timed"), [(60.0, 4), (1e-9, 1)])
def test_steps_end_at_the_time_limit(seconds, timed):
    found = worker.measure(replace(TINY, method="plain", steps=4, seconds=seconds))
    assert len(found["seconds"]) == timed
    assert (found["tensor_bytes"] is None) == (timed == 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["vmpa"]}, r"--method vmpa: expected one of factored, plain, vmap, lora"),
        ({"tokens": 12}, "--tokens 12: expected a square"),
        ({"sides": ["lst"]}, "--side lst: expected one of losa, last, relay"),
        ({"shapes": ["vitb"]}, "--shape vitb: expected one of demo, deit-tiny, vit-b; did you mean 'vit-b'"),
        ({"compile": "yes"}, "--compile yes: expected one of auto, true, false"),
        ({"steps": 0}, "--steps 0: expected 1 or more"),
        ({"micro_batch_size": 0}, "--micro-batch 0: expected 1 or more"),
        ({"seconds": 0}, "--seconds 0: expected more than 0"),
        ({"members": [4, 0]}, "--members 0: expected 1 or more"),
        ({"norm": "layer"}, "--norm layer does not factor"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LosaError, match=message):
        FusedBenchmark(**options)


def test_an_error_of_the_options_reaches_the_user(command, tmp_path, in_this_process):
    options = ["--side", "last", "--rank", "3", "--method", "factored"]
    done = command(tmp_path, "losa-bench", "fused", *OPTIONS.split(), *options)
    assert done.returncode == 1
    assert "rank=3: side=last needs a multiple of heads=2" in done.stderr


def test_operations_are_those_of_the_design():
    losa = Setting(method="factored", dtype="float32", members=1)
    base = 4 * 2 * 12 * 50 * 197 * 768 * 8
    assert useful_flops(losa) == pytest.approx(base + 3.9e9, rel=0.01)
    assert useful_flops(replace(losa, method="plain")) == 3 * base
    assert useful_flops(replace(losa, side="last")) < useful_flops(replace(losa, side="last", method="plain"))
    # A ViT-B has 17.5 G multiplications with additions; the backward pass has as many.
    assert useful_flops(replace(losa, method="lora")) == pytest.approx(50 * 4 * 17.5e9, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_more_members_or_images_need_more_memory(method):
    setting = replace(TINY, method=method, micro_batch_size=None, batch=50)
    assert needed_bytes(replace(setting, batch=500)) > needed_bytes(setting) or method == "factored"
    assert needed_bytes(replace(setting, members=200)) > needed_bytes(setting) or method == "lora"
