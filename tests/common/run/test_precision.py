"""bfloat16 or float32: what the settings, the launcher and the processor say of it."""

from argparse import Namespace

from common.run.launch import choose_modules, choose_precision

import pytest


@pytest.mark.parametrize("launcher", ["bf16", None])
@pytest.mark.parametrize(
    ("instructions", "given", "chosen"),
    [
        ("AVX2", None, False),
        ("DEFAULT", None, False),
        ("AVX512", None, None),  # as the launcher says, or the trainer by itself: bfloat16
        ("AVX2", True, True),
        ("AVX512", False, False),
    ],
)
def test_a_processor_that_is_slow_in_bfloat16_takes_float32(
    instructions: str, given: bool | None, chosen: bool | None, launcher: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    if launcher:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    values = Namespace(bf16=given, fp16=False)
    choose_precision(values, instructions)
    assert values.bf16 is chosen


def test_a_gpu_takes_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    values = Namespace(bf16=None, fp16=False)
    choose_precision(values, "AVX2")
    assert values.bf16 is None


def test_fused_modules_need_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for has_gpu, asked, kept in ((False, True, False), (False, False, False), (True, True, True)):
        monkeypatch.setattr("torch.cuda.is_available", lambda has_gpu=has_gpu: has_gpu)
        values = Namespace(use_liger_kernel=asked)
        choose_modules(values)
        assert values.use_liger_kernel is kept
        assert ("use_liger_kernel needs an NVIDIA GPU" in capsys.readouterr().out) is (asked and not kept)
