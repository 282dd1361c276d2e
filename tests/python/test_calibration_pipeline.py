"""collect() of real diffusers pipelines and models, and of samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from arrow_quant_v2 import ConfigurationError
from arrow_quant_v2.calibration import collect, load_inputs, read
from calibration_nets import mlp

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits_dit" / "model"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "calibration.parquet"


@pytest.fixture(scope="module")
def digits() -> Any:
    return diffusers.DiTPipeline.from_pretrained(DIGITS, vae=None)


def small_unet(**options: Any) -> Any:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    )


class PromptPipeline(diffusers.DiffusionPipeline):  # type: ignore[misc]
    """A pipeline with prompts and guidance, as text-to-image pipelines have them."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    def __call__(
        self,
        prompt: list[str],
        num_inference_steps: int,
        generator: Any,
        guidance_scale: float = 2.0,
        output_type: str = "pil",
    ) -> Any:
        assert output_type == "latent"
        self.seen = [*getattr(self, "seen", []), *prompt]
        x = torch.cat([torch.randn((1, 3, 8, 8), generator=g) for g in generator])
        self.scheduler.set_timesteps(num_inference_steps)
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            guided = i > 0  # guidance within an interval
            noise = self.unet(torch.cat([x, x]) if guided else x, t).sample
            if guided:
                a, b = noise.chunk(2)
                noise = b + guidance_scale * (a - b)
            x = self.scheduler.step(noise, t, x).prev_sample
        return x


def test_a_class_pipeline_is_run_for_its_classes(digits: Any, out: Path) -> None:
    result = collect(digits, out=out, prompts=[3, "7"], steps=4, samples=10, seed=1)
    data = read(out)
    assert result["component"] == "transformer"
    assert data.metadata["model_class"] == "DiTTransformer2DModel"
    assert (result["num_trajectories"], result["guidance_branches"]) == (10, 2)
    assert (result["num_calls"], result["num_steps"]) == (8, 4)  # batches of 8 and 2
    assert result["schedule"] == "DDIMScheduler"
    assert result["warnings"] == []
    labels = {int(c["class_labels"][i]) for c in load_inputs(out) for i in (0, 1)}
    assert labels == {3, 7}
    q, k = (data[f"transformer_blocks.0.attn1.to_{p}.weight"] for p in "qk")
    assert k.alias == q.name
    step = q.steps[0]
    assert step.n_rows == 16 * 2 * 7  # tokens, branches, and trajectories but 1, 5 and 9
    assert len(step.rows) == 24
    assert set(step.row_trajectory[step.row_trajectory % 4 == 1].tolist()) <= {1, 5, 9}


def test_classes_may_be_left_out(digits: Any, out: Path) -> None:
    collect(digits, out=out, steps=2, samples=5, layers=["proj_out_1"], hessian=False)
    (labels,) = {tuple(c["class_labels"].tolist()) for c in load_inputs(out)}
    assert len(set(labels[:5])) == 5
    assert set(labels[5:]) == {10}


def test_a_trajectory_depends_on_the_seed_and_its_number_alone(digits: Any, tmp_path: Path) -> None:
    options = {"steps": 2, "layers": ["proj_out_1"], "prompts": [1]}
    collect(digits, out=tmp_path / "a", samples=3, **options)
    collect(digits, out=tmp_path / "b", samples=1, first_trajectory=2, **options)
    a, b = (load_inputs(tmp_path / name)[0]["args"][0] for name in "ab")
    assert torch.equal(a[2], b[0])


def test_an_unconditional_pipeline_needs_no_prompts(out: Path) -> None:
    pipe = diffusers.DDPMPipeline(small_unet(), diffusers.DDPMScheduler())
    result = collect(pipe, out=out, steps=3, samples=4, layers=["conv"])
    assert result["component"] == "unet"
    data = read(out)
    assert [s["timestep"] for s in data.time_axis] == [666, 333, 0]
    assert "up_blocks.0.resnets.0.conv1.weight" in data.layers
    assert "disable" not in vars(pipe).get("_progress_bar_config", {})


def test_prompts_are_repeated_and_branches_found(out: Path) -> None:
    pipe = PromptPipeline(small_unet(), diffusers.DDIMScheduler())
    result = collect(pipe, out=out, prompts=["a", "b", "c"], steps=3, samples=5)
    assert pipe.seen == ["a", "b", "c", "a", "b"]
    assert (result["num_trajectories"], result["guidance_branches"]) == (5, 2)
    layer = read(out)["mid_block.resnets.0.conv1.weight"]
    assert [step.n_rows for step in layer.steps.values()] == [16 * 4, 2 * 16 * 4, 2 * 16 * 4]


class RisingPipeline(PromptPipeline):
    """Tells its model the time that has passed, from 0 for noise to 1 for the result."""

    def __init__(self, unet: Any, unet_2: Any, scheduler: Any) -> None:
        super(PromptPipeline, self).__init__()
        self.register_modules(unet=unet, unet_2=unet_2, scheduler=scheduler)

    def __call__(self, batch_size: int, num_inference_steps: int, generator: Any) -> Any:
        x = torch.cat([torch.randn((1, 3, 8, 8), generator=g) for g in generator])
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.scheduler.timesteps:
            model = self.unet if t > 500 else self.unet_2
            noise = model(x, (1000 - t) / 1000).sample
            x = self.scheduler.step(noise, t, x).prev_sample


def rising_pipeline() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return RisingPipeline(small_unet(), small_unet(), scheduler)


def test_a_timestep_that_rises_is_found_out(out: Path) -> None:
    pipe = rising_pipeline()
    result = collect(pipe, out=out, steps=5, samples=9, layers=["mid_block"], hessian=False)
    data = read(out)
    assert result["num_trajectories"] == 9
    times = [s["timestep"] for s in data.time_axis]
    assert times == sorted(times)
    assert [s["log_snr"] for s in data.time_axis] == pytest.approx(
        [max(-20, 2 * np.log(t / (1 - t))) if t else -20 for t in times], rel=1e-4
    )
    assert result["warnings"] == ["not collected: unet_2; collect again with component="]
    again = out.with_name("again.parquet")
    options = {"scheduler": pipe.scheduler, "smaller_is_noisier": True, "component": "unet"}
    collect(pipe.unet, load_inputs(out), out=again, layers=["mid_block"], hessian=False, **options)
    assert again.read_bytes() == out.read_bytes()


def test_a_pipeline_with_two_models_collects_the_one_that_is_named(out: Path) -> None:
    pipe = rising_pipeline()
    result = collect(pipe, out=out, steps=5, samples=4, component="unet_2", hessian=False)
    assert result["component"] == "unet_2"
    assert all(s["timestep"] >= 0.5 for s in read(out).time_axis)
    with pytest.raises(ConfigurationError, match="component = 'unet_3'"):
        collect(pipe, out=out, component="unet_3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "PromptPipeline needs some"),
        ({"prompts": []}, "at least one"),
        ({"prompts": "a cat"}, "give a list"),
        ({"prompts": ["a"], "inputs": []}, "a pipeline runs itself"),
        ({"prompts": ["a"], "samples": 0}, "samples = 0"),
    ],
)
def test_what_a_pipeline_cannot_be_run_with_is_an_error(
    out: Path, options: dict[str, Any], words: str
) -> None:
    pipe = PromptPipeline(small_unet(), diffusers.DDIMScheduler())
    with pytest.raises(ConfigurationError, match=words):
        collect(pipe, out=out, **options)


@pytest.mark.parametrize("prompt", [10, -1, "eleven"])
def test_a_class_that_is_not_there_is_named(digits: Any, out: Path, prompt: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{prompt!r} is no class .* 0 to 9"):
        collect(digits, out=out, prompts=[prompt])


def test_a_sampler_runs_the_model_as_it_likes(out: Path) -> None:
    def sampler(model: Any) -> None:
        for _ in range(2):
            for t in (900, 500, 100):
                model(torch.randn(4, 5, 512), timestep=t)

    result = collect(mlp(), sampler=sampler, out=out, beta_schedule="cosine")
    assert (result["num_trajectories"], result["num_calls"]) == (8, 6)
    assert result["warnings"] == []


def test_the_inputs_of_a_pipeline_give_the_same_file_again(digits: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    options = {"layers": ["attn1", "ff"], "component": "transformer"}
    collect(digits, out=first, steps=3, samples=8, **options)
    collect(
        digits.transformer,
        load_inputs(first),
        out=second,
        guidance_branches=2,
        scheduler=digits.scheduler,
        **options,
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_flow_matching_transformer_is_collected_from_its_inputs(out: Path) -> None:
    torch.manual_seed(0)
    flux = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    inputs = [
        {
            "hidden_states": torch.randn(4, 6, 64),
            "encoder_hidden_states": torch.randn(4, 5, 64),
            "pooled_projections": torch.randn(4, 64),
            "timestep": torch.full((4,), sigma),
            "img_ids": torch.zeros(6, 3),
            "txt_ids": torch.zeros(5, 3),
            "guidance": torch.full((4,), 3.5),
        }
        for sigma in (1.0, 0.75, 0.25)
    ]
    result = collect(flux, inputs, out=out, scheduler=diffusers.FlowMatchEulerDiscreteScheduler())
    assert result["warnings"] == []
    data = read(out)
    assert [s["log_snr"] for s in data.time_axis] == pytest.approx(
        [-20, 2 * np.log(1 / 3), 2 * np.log(3)]
    )
    block = "transformer_blocks.0.attn"
    assert data.aliases[f"{block}.to_v.weight"] == f"{block}.to_q.weight"
    assert data.aliases[f"{block}.add_k_proj.weight"] == f"{block}.add_q_proj.weight"
    assert data[f"{block}.to_q.weight"].steps[0].n_rows == 3 * 6
    assert data[f"{block}.add_q_proj.weight"].steps[0].n_rows == 3 * 5
    single = "single_transformer_blocks.0"
    assert data.aliases[f"{single}.attn.to_q.weight"] == f"{single}.proj_mlp.weight"
    assert data[f"{single}.proj_out.weight"].steps[0].n_rows == 3 * 11
