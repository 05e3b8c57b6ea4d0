"""Writes the sets of this folder with diffusers, the reference: python golden.py [FOLDER]

A small fixed function stands in for the model: schedulers only do arithmetic on what a model says. Needs
diffusers==0.35.2, torch==2.6.0, scipy and numpy<2.
"""

import json
import sys
from pathlib import Path

import diffusers.schedulers as reference
import numpy as np
import torch

SHAPE = (1, 2, 4, 4)
DRAWS = 32
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_SNR = {
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "prediction_type": "v_prediction",
}

# Name, class, options beside those of Stable Diffusion, numbers of steps.
SETS = [
    ("ddim", "DDIM", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}, [10, 1]),
    ("ddim_clipped", "DDIM", {"clip_sample": True}, [7]),
    ("ddim_thresholding", "DDIM", {"thresholding": True, "sample_max_value": 2.0}, [7]),
    ("ddim_linspace_sample", "DDIM", {"timestep_spacing": "linspace", "prediction_type": "sample"}, [7]),
    ("ddim_zero_snr", "DDIM", {**ZERO_SNR, "clip_sample": False}, [10]),
    ("ddim_cosine", "DDIM", {"beta_schedule": "squaredcos_cap_v2"}, [6]),
    ("pndm", "PNDM", {"skip_prk_steps": True, "steps_offset": 1}, [10, 2, 1]),
    ("pndm_runge_kutta", "PNDM", {"skip_prk_steps": False}, [10]),
    ("pndm_v_linspace", "PNDM", {"skip_prk_steps": True, "prediction_type": "v_prediction", "timestep_spacing": "linspace"}, [9]),
    ("pndm_trailing", "PNDM", {"skip_prk_steps": True, "timestep_spacing": "trailing", "set_alpha_to_one": True}, [9]),
    ("euler", "EulerDiscrete", {"steps_offset": 1}, [10, 1]),
    ("euler_leading", "EulerDiscrete", {"timestep_spacing": "leading", "steps_offset": 1}, [10]),
    ("euler_trailing", "EulerDiscrete", {"timestep_spacing": "trailing"}, [4, 1]),
    ("euler_karras", "EulerDiscrete", {"use_karras_sigmas": True}, [10]),
    ("euler_exponential", "EulerDiscrete", {"use_exponential_sigmas": True}, [10]),
    ("euler_beta", "EulerDiscrete", {"use_beta_sigmas": True}, [10]),
    ("euler_log_linear", "EulerDiscrete", {"interpolation_type": "log_linear"}, [8]),
    ("euler_sample_sigma_min", "EulerDiscrete", {"prediction_type": "sample", "final_sigmas_type": "sigma_min"}, [8]),
    ("euler_v", "EulerDiscrete", {"prediction_type": "v_prediction"}, [8]),
    ("euler_v_continuous", "EulerDiscrete", {"prediction_type": "v_prediction", "timestep_type": "continuous", "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0}, [8]),
    ("euler_zero_snr", "EulerDiscrete", ZERO_SNR, [10]),
    ("euler_a", "EulerAncestralDiscrete", {}, [10]),
    ("euler_a_trailing", "EulerAncestralDiscrete", {"timestep_spacing": "trailing"}, [4, 1]),
    ("euler_a_zero_snr", "EulerAncestralDiscrete", ZERO_SNR, [10]),
    ("dpmpp_2m", "DPMSolverMultistep", {}, [10, 20, 1]),
    ("dpmpp_2m_karras", "DPMSolverMultistep", {"use_karras_sigmas": True}, [10, 20]),
    ("dpmpp_2m_heun", "DPMSolverMultistep", {"solver_type": "heun"}, [10]),
    ("dpmpp_2m_leading_v", "DPMSolverMultistep", {"timestep_spacing": "leading", "prediction_type": "v_prediction", "steps_offset": 1}, [10]),
    ("dpmpp_2m_trailing", "DPMSolverMultistep", {"timestep_spacing": "trailing", "euler_at_final": True}, [10, 20]),
    ("dpmpp_2m_sde", "DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}, [10]),
    ("dpmpp_2m_sde_karras", "DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}, [20]),
    ("dpmpp_2m_sde_heun", "DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}, [10]),
    ("dpmpp_3m", "DPMSolverMultistep", {"solver_order": 3}, [10, 20]),
    ("dpmpp_3m_sde", "DPMSolverMultistep", {"solver_order": 3, "algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min"}, [10]),
    ("dpmpp_exponential", "DPMSolverMultistep", {"use_exponential_sigmas": True}, [10]),
    ("dpmpp_beta", "DPMSolverMultistep", {"use_beta_sigmas": True}, [10]),
    ("dpmpp_lu", "DPMSolverMultistep", {"use_lu_lambdas": True}, [10]),
    ("dpmpp_flow", "DPMSolverMultistep", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}, [10]),
    ("dpmpp_thresholding", "DPMSolverMultistep", {"thresholding": True, "sample_max_value": 1.5}, [10]),
    ("dpmpp_zero_snr", "DPMSolverMultistep", ZERO_SNR, [10]),
    ("dpmpp_lambda_clipped", "DPMSolverMultistep", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, [10]),
    ("dpm_2", "DPMSolverMultistep", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, [10]),
    ("dpm_3_sample", "DPMSolverMultistep", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3, "prediction_type": "sample"}, [20]),
    ("dpm_2_sde_heun", "DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_type": "heun"}, [10]),
    ("unipc", "UniPCMultistep", {}, [10, 20, 1]),
    ("unipc_bh1_karras", "UniPCMultistep", {"solver_type": "bh1", "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, [10]),
    ("unipc_3", "UniPCMultistep", {"solver_order": 3}, [10]),
    ("unipc_noise", "UniPCMultistep", {"predict_x0": False, "final_sigmas_type": "sigma_min"}, [10]),
    ("unipc_v_uncorrected", "UniPCMultistep", {"prediction_type": "v_prediction", "disable_corrector": [0, 1], "timestep_spacing": "leading"}, [10]),
    ("unipc_flow", "UniPCMultistep", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}, [10]),
    ("unipc_exponential", "UniPCMultistep", {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"}, [10]),
    ("lcm", "LCM", {}, [8, 4, 1]),
    ("lcm_v_clipped", "LCM", {"prediction_type": "v_prediction", "clip_sample": True, "original_inference_steps": 100}, [6]),
    ("lcm_zero_snr", "LCM", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, [4]),
    ("flow", "FlowMatchEulerDiscrete", {}, [10, 1]),
    ("flow_shifted", "FlowMatchEulerDiscrete", {"shift": 3.0}, [10]),
    ("flow_terminal", "FlowMatchEulerDiscrete", {"shift": 1.5, "shift_terminal": 0.1}, [10]),
    ("flow_karras", "FlowMatchEulerDiscrete", {"use_karras_sigmas": True}, [10]),
    ("flow_stochastic", "FlowMatchEulerDiscrete", {"stochastic_sampling": True}, [10]),
    ("flow_inverted", "FlowMatchEulerDiscrete", {"invert_sigmas": True}, [10]),
]


def model(latents, time):
    """Bounded, uneven, and different at each time."""
    turned = latents.roll(1, -1)
    return 0.6 * torch.sin(1.7 * latents + time / 500) + 0.4 * turned / (1 + turned.abs())


class Draws:
    """Stands in for every source of noise that a scheduler may use."""

    def __init__(self, bank):
        self._bank, self._next = bank, 0

    def __call__(self, *_, **__):
        draw = self._bank[self._next].clone()
        self._next += 1
        return draw


def run(scheduler, steps, init_noise, bank):
    draws = Draws(bank)
    sys.modules[type(scheduler).__module__].randn_tensor = draws
    torch.randn_like = draws
    scheduler.set_timesteps(steps)
    latents = init_noise * getattr(scheduler, "init_noise_sigma", 1.0)
    taken = {"model_inputs": [], "model_outputs": [], "latents": []}
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time) if hasattr(scheduler, "scale_model_input") else latents
        output = model(scaled, time)
        latents = scheduler.step(output, time, latents).prev_sample
        for name, value in (("model_inputs", scaled), ("model_outputs", output), ("latents", latents)):
            taken[name].append(value[0].numpy().copy())
    return {"timesteps": scheduler.timesteps.numpy(), **{name: np.stack(rows) for name, rows in taken.items()}}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    generator = torch.Generator().manual_seed(20)
    init_noise = torch.randn(SHAPE, generator=generator)
    bank = torch.randn((DRAWS, *SHAPE), generator=generator)
    np.savez_compressed(folder / "common.npz", init_noise=init_noise.numpy(), noise_bank=bank.numpy())
    for name, kind, options, numbers in SETS:
        base = {} if kind.startswith("Flow") else STABLE_DIFFUSION
        scheduler = getattr(reference, f"{kind}Scheduler")(**{**base, **options})
        (folder / f"{name}.config.json").write_text(scheduler.to_json_string())
        for steps in numbers:
            np.savez_compressed(folder / f"{name}_s{steps}_g1.0.npz", **run(scheduler, steps, init_noise, bank))


main()
