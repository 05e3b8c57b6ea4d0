"""Writes the folders of this folder with diffusers, the reference: python golden.py [FOLDER]

`shared` holds what several models have in common; each other folder is a model beside it, with the reference's numbers in
`expected.npz`: for each set the latents behind each step and the picture, from noise that is written down too. Needs
diffusers==0.35.2, torch==2.6.0, transformers==4.57.0, onnx and numpy<2.
"""

import hashlib
import importlib
import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import schedulers
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image

import models

# What is seen is small, so that no set needs more than a few kilobytes.
PIXELS = 2 * models.SIDE
PROMPT, NEGATIVE = "a photo of the Cat, riding", "red dog"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SCHEDULERS = {
    "ddim": ("DDIM", {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": ("PNDM", {"skip_prk_steps": True}),
    "euler": ("EulerDiscrete", {}),
    "euler_a": ("EulerAncestralDiscrete", {}),
    "dpmpp_2m": ("DPMSolverMultistep", {}),
    "unipc": ("UniPCMultistep", {}),
    "lcm": ("LCM", {}),
}
VARIANTS = {
    # As the models of SD-Turbo and SDXL-Turbo have it, and Stable Diffusion 2.1 after the correction of its last step.
    "turbo": ("EulerAncestralDiscrete", {"timestep_spacing": "trailing"}),
    "velocity": (
        "DDIM",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False},
    ),
}


def scheduler(name):
    kind, options = (SCHEDULERS | VARIANTS)[name]
    return getattr(schedulers, f"{kind}Scheduler")(**SCHEDULE, **options)


class Draws:
    """Stands in for every source of noise: the initial noise first where it is drawn, then the bank."""

    def __init__(self, noise, bank, first):
        self.values = ([noise] if first else []) + list(bank)

    def __call__(self, *_, **__):
        return self.values.pop(0).clone()


class Sets:
    """The sets of one model."""

    def __init__(self, parts, seed, side=models.SIDE):
        self.parts = parts
        self.schedulers = set()
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((1, 4, side, side), generator=generator)
        self.bank = torch.randn((12, 1, 4, side, side), generator=generator)
        self.values = {"init_noise": self.noise.numpy(), "noise_bank": self.bank.numpy()}
        random = np.random.default_rng(seed)
        ramp = np.linspace(0, 200, PIXELS)[None, :, None] + random.uniform(0, 55, (PIXELS, PIXELS, 3))
        self.values["init_image"] = ramp.astype(np.uint8)
        self.values["mask"] = np.zeros((PIXELS, PIXELS), np.uint8)
        self.values["mask"][3:11, 5:] = 255
        self.values["control_image"] = random.integers(0, 256, (PIXELS, PIXELS, 3)).astype(np.uint8)
        tokenizer = parts.get("tokenizer") or parts["tokenizer_2"]
        for name, text in (("prompt_ids", PROMPT), ("neg_ids", NEGATIVE)):
            ids = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
            self.values[name] = np.array([ids], np.int64)

    def add(self, name, kind, scheduler_name, first=False, negative=NEGATIVE, **options):
        """`first`: the pipeline draws its own initial noise."""
        pipeline = getattr(diffusers, kind)(scheduler=scheduler(scheduler_name), **self.parts)
        pipeline.set_progress_bar_config(disable=True)
        self.schedulers.add(scheduler_name)
        draws = Draws(self.noise, self.bank, first)
        for module in (type(pipeline).__module__, type(pipeline.scheduler).__module__):
            importlib.import_module(module).randn_tensor = draws
        torch.randn_like = draws
        taken = []

        def note(_pipeline, _step, _time, values):
            taken.append(values["latents"][0].numpy().copy())
            return {}

        given = {} if first else {"latents": self.noise.clone()}
        if negative and options.get("guidance_scale", 0) > 1 and "LatentConsistency" not in kind:
            given["negative_prompt"] = negative
        picture = pipeline(prompt=PROMPT, output_type="np", callback_on_step_end=note, **given, **options).images
        self.values[name] = picture.transpose(0, 3, 1, 2).astype(np.float32)
        self.values[f"{name}.latents"] = np.stack(taken).astype(np.float32)

    def picture(self, name):
        return Image.fromarray(self.values[name])

    def write(self, folder):
        for name in self.schedulers:
            (folder / f"{name}.config.json").write_text(scheduler(name).to_json_string())
        np.savez_compressed(folder / "expected.npz", **self.values)


def index(folder, kind, scheduler_name, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind, **options}, indent=1) + "\n")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(scheduler(scheduler_name).to_json_string())


def unet_inputs(unet, timestep=torch.tensor(500.0), **added):
    sample = torch.randn(2, unet.config.in_channels, models.SIDE, models.SIDE)
    states = torch.randn(2, 77, unet.config.cross_attention_dim)
    return {"sample": sample, "timestep": timestep, "encoder_hidden_states": states, **added}


def plain(folder, parts):
    """Text to picture, picture to picture, and masks for a UNet that knows none."""
    unet = models.unet(1)
    parts = {**parts, "unet": unet}
    index(folder, "StableDiffusionPipeline", "pndm")
    models.write_denoiser(unet, folder / "unet", unet_inputs(unet), ["out_sample"])
    sets = Sets(parts, 11)
    text, image, inpaint = (f"StableDiffusion{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint"))
    for name in SCHEDULERS:
        for guidance in (1.0, 5.0) if name == "ddim" else (5.0,):
            options = {"num_inference_steps": 6, "guidance_scale": guidance}
            sets.add(f"txt2img_{name}_s6_g{guidance}", text, name, **options)
        options = {"num_inference_steps": 7, "guidance_scale": 5.0, "strength": 0.7, "image": sets.picture("init_image")}
        sets.add(f"img2img_{name}_s7_g5.0_st0.7", image, name, first=True, **options)
    options = {"num_inference_steps": 5, "guidance_scale": 5.0}
    sets.add("txt2img_ddim_s5_g5.0_gr0.7", text, "ddim", guidance_rescale=0.7, **options)
    sets.add("txt2img_euler_s5_g5.0_cs1", text, "euler", clip_skip=1, **options)
    sets.add("txt2img_ddim_s5_g5.0_eta0.6", text, "ddim", eta=0.6, **options)
    for steps in (1, 4):
        sets.add(f"txt2img_turbo_s{steps}_g0.0", text, "turbo", num_inference_steps=steps, guidance_scale=0.0)
    options = {"num_inference_steps": 4, "guidance_scale": 0.0, "strength": 0.5, "image": sets.picture("init_image")}
    sets.add("img2img_turbo_s4_g0.0_st0.5", image, "turbo", first=True, **options)
    options = {"num_inference_steps": 5, "guidance_scale": 5.0, "guidance_rescale": 0.7}
    sets.add("txt2img_velocity_s5_g5.0_gr0.7", text, "velocity", **options)
    pictures = {"image": sets.picture("init_image"), "mask_image": sets.picture("mask"), "height": PIXELS, "width": PIXELS}
    for name in ("ddim", "euler", "pndm", "dpmpp_2m"):
        for strength in (1.0, 0.6):
            more = {"num_inference_steps": 5, "guidance_scale": 5.0, "strength": strength}
            sets.add(f"inpaint_{name}_s5_g5.0_st{strength}", inpaint, name, first=True, **more, **pictures)
    sets.write(folder)


def masked(folder, parts):
    """A UNet that reads the mask and what stays, one row at a time."""
    unet = models.unet(2, in_channels=9)
    index(folder, "StableDiffusionInpaintPipeline", "ddim")
    models.write_denoiser(unet, folder / "unet", unet_inputs(unet), ["out_sample"], rows=1)
    sets = Sets({**parts, "unet": unet}, 12)
    pictures = {"image": sets.picture("init_image"), "mask_image": sets.picture("mask"), "height": PIXELS, "width": PIXELS}
    for name, strength in (("ddim", 1.0), ("euler", 0.8)):
        options = {"num_inference_steps": 5, "guidance_scale": 5.0, "strength": strength}
        kind = "StableDiffusionInpaintPipeline"
        sets.add(f"inpaint_{name}_s5_g5.0_st{strength}", kind, name, first=True, **options, **pictures)
    sets.write(folder)


def consistency(folder, parts):
    """A UNet that is told the guidance scale, and reads two rows at a time."""
    unet = models.unet(3, time_cond_proj_dim=8)
    index(folder, "LatentConsistencyModelPipeline", "lcm")
    inputs = unet_inputs(unet, torch.tensor([500]), timestep_cond=torch.randn(2, 8))
    models.write_denoiser(unet, folder / "unet", inputs, ["out_sample"], rows=2)
    sets = Sets({**parts, "unet": unet}, 13)
    kinds = ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline")
    for steps, guidance in ((4, 8.5), (2, 2.0)):
        options = {"num_inference_steps": steps, "guidance_scale": guidance}
        sets.add(f"txt2img_lcm_s{steps}_g{guidance}", kinds[0], "lcm", **options)
    options = {"num_inference_steps": 4, "guidance_scale": 8.5, "strength": 0.5, "image": sets.picture("init_image")}
    sets.add("img2img_lcm_s4_g8.5_st0.5", kinds[1], "lcm", first=True, **options)
    sets.write(folder)


def controlled(folder, parts):
    """A UNet that hears a ControlNet, and in a folder of its own one that hears two."""
    unet, net, second = models.unet(1), models.control_net(4), models.control_net(6)
    index(folder, "StableDiffusionControlNetPipeline", "ddim")
    inputs = unet_inputs(unet)
    picture = torch.rand(2, 3, PIXELS, PIXELS)
    down, middle = net(**inputs, controlnet_cond=picture, return_dict=False)
    names = [f"down_block_res_sample_{n}" for n in range(len(down))]
    two = folder.with_name(f"{folder.name}_twice")
    index(two, "StableDiffusionControlNetPipeline", "ddim")
    for model, place in ((net, folder / "controlnet"), (net, two / "controlnet_0"), (second, two / "controlnet_1")):
        models.write_denoiser(model, place, {**inputs, "controlnet_cond": picture}, [*names, "mid_block_res_sample"])
    heard = {f"down_block_additional_residual_{n}": value.detach() for n, value in enumerate(down)}
    heard["mid_block_additional_residual"] = middle.detach()
    for place in (folder, two):
        models.write_denoiser(unet, place / "unet", {**inputs, **heard}, ["out_sample"])
    sets = Sets({**parts, "unet": unet, "controlnet": net}, 14)
    for name, scale, start, end in (("ddim", 1.0, 0.0, 1.0), ("euler", 0.5, 0.2, 0.8)):
        options = {"num_inference_steps": 5, "guidance_scale": 5.0, "image": sets.picture("control_image")}
        options |= {"controlnet_conditioning_scale": scale, "control_guidance_start": start, "control_guidance_end": end}
        more = "" if scale == 1.0 else f"_cn{scale}_from{start}_to{end}"
        sets.add(f"txt2img_{name}_s5_g5.0{more}", "StableDiffusionControlNetPipeline", name, **options)
    sets.write(folder)
    sets = Sets({**parts, "unet": unet, "controlnet": MultiControlNetModel([net, second])}, 14)
    options = {"num_inference_steps": 5, "guidance_scale": 5.0, "image": [sets.picture("control_image")] * 2}
    options["controlnet_conditioning_scale"] = [0.7, 0.7]
    sets.add("txt2img_ddim_s5_g5.0_cn0.7", "StableDiffusionControlNetPipeline", "ddim", **options)
    sets.write(two)


def large(folder, shared):
    """Stable Diffusion XL: two text encoders, sizes and crop."""
    padded = models.tokenizer(folder / "tokenizer_2", "!")
    second = models.text_encoder(padded, 3, True, 22)
    models.write_text(second, folder / "text_encoder_2", True)
    unet = models.unet(
        5,
        cross_attention_dim=2 * models.HIDDEN,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=models.HIDDEN + 6 * 8,
    )
    index(folder, "StableDiffusionXLPipeline", "euler", force_zeros_for_empty_prompt=True)
    inputs = unet_inputs(unet, torch.tensor([500.0, 20.0]), text_embeds=torch.randn(2, models.HIDDEN), time_ids=torch.rand(2, 6) * 16)
    models.write_denoiser(unet, folder / "unet", inputs, ["out_sample"])
    vae = models.autoencoder(23, 0.13025)
    models.write_vae(vae, folder, mode=True)
    parts = {**shared, "text_encoder_2": second, "tokenizer_2": padded, "unet": unet, "vae": vae}
    sets = Sets(parts, 15)
    text, image = "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"
    size = {"height": PIXELS, "width": PIXELS}
    for name, guidance in (("euler", 5.0), ("ddim", 5.0), ("dpmpp_2m", 1.0)):
        options = {"num_inference_steps": 5, "guidance_scale": guidance, **size}
        sets.add(f"txt2img_{name}_s5_g{guidance}", text, name, **options)
    sets.add("txt2img_turbo_s2_g0.0", text, "turbo", num_inference_steps=2, guidance_scale=0.0, **size)
    options = {"num_inference_steps": 5, "guidance_scale": 5.0, **size}
    sets.add("txt2img_euler_s5_g5.0_nonegative", text, "euler", negative=None, **options)
    sets.add("txt2img_euler_s5_g5.0_cs1", text, "euler", clip_skip=1, **options)
    options = {"num_inference_steps": 5, "guidance_scale": 5.0, "strength": 0.6, "image": sets.picture("init_image")}
    sets.add("img2img_euler_s5_g5.0_st0.6", image, "euler", first=True, **options)
    sets.write(folder)


def sentence(folder):
    """A sentence encoder of ten words, a model of the store by itself."""
    model = models.seeded(models.Sentence, 30)
    words = ["<pad>", "<s>", "</s>", "<unk>", "query:", "a", "red", "blue", "cat", "moon", "and", "star"]
    special = [{"id": n, "content": word, "special": True} for n, word in enumerate(words[:4])]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    frame = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    frame.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**token, **flags} for token in special],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": frame,
            "special_tokens": {word: {"id": word, "ids": [n], "tokens": [word]} for n, word in enumerate(words[:4])},
        },
        "model": {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(words)}, "unk_token": "<unk>"},
    }
    ids = torch.tensor([[1, 5, 2], [1, 6, 2]])
    axes = {name: {0: "batch", 1: "seq"} for name in ("input_ids", "attention_mask", "last_hidden_state")}
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    models.write(model, folder / "model.onnx", inputs, ["last_hidden_state"], axes)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1) + "\n")
    entry = lambda file: {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    files = {name: entry((folder / name).read_bytes()) for name in ("model.onnx", "tokenizer.json")}
    manifest = {"id": "sentence", "task": "text-embedding", "files": files, "options": {"prefix": "query: "}}
    (folder / "atelier.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return model


def flow(folder, encoder):
    """Our own layout: rectified flow over the latents of small transparent pictures."""
    transformer, decoder = models.seeded(models.Flow, 31), models.seeded(models.Colours, 32)
    latents = models.seeded(models.Latents, 33)
    parts = {"text_encoder": ["atelier", "sentence"]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LatentFlowPipeline", **parts}, indent=1) + "\n")
    steps = schedulers.FlowMatchEulerDiscreteScheduler(shift=1.5)
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(steps.to_json_string())
    noise = torch.randn((1, 6, 4, 4), generator=torch.Generator().manual_seed(16))
    states = torch.randn(2, 5, 16)
    inputs = {
        "hidden_states": torch.cat([noise] * 2),
        "timestep": torch.tensor([500.0, 500.0]),
        "encoder_hidden_states": states,
        "encoder_attention_mask": torch.ones(2, 5, dtype=torch.int64),
        "style": torch.tensor([0, 2]),
    }
    axes = {name: {0: "batch"} for name in [*inputs, "sample"]}
    axes["encoder_hidden_states"][1] = axes["encoder_attention_mask"][1] = "seq"
    models.write(transformer, folder / "transformer" / "model.onnx", inputs, ["sample"], axes)
    picture = torch.rand(1, 4, 8, 8) * 2 - 1
    axes = {name: {0: "batch"} for name in ("latent_sample", "sample")}
    models.write(decoder, folder / "vae_decoder" / "model.onnx", {"latent_sample": noise}, ["sample"], axes)
    models.write(latents, folder / "vae_encoder" / "model.onnx", {"sample": picture}, ["latent_sample"], axes)
    config = {"in_channels": 6, "sample_size": 4, "cross_attention_dim": 16, "max_sequence_length": 6}
    config |= {"styles": ["ink", "wax", "any"], "guidance_scale": 3.0, "num_inference_steps": 6}
    (folder / "transformer" / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    config = {"latent_channels": 6, "out_channels": 4, "scaling_factor": 1.0, "spatial_compression_ratio": 2}
    config["preview_rgb"] = {"weights": [[0.1, 0.0, -0.1]] * 6, "bias": [0.2, 0.0, 0.0]}
    (folder / "vae_decoder" / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    values = {"init_noise": noise.numpy(), "init_image": picture.numpy()}
    # Its tokens: start, prefix, "a", "red", "cat", end.
    values["prompt"] = np.frombuffer(b"a red cat", np.uint8)
    text = encoder(torch.tensor([[1, 4, 5, 6, 8, 2]]), torch.ones(1, 6, dtype=torch.int64))
    both = torch.cat([torch.zeros_like(text), text])
    mask = torch.tensor([[0] * 6, [1] * 6])
    for guidance, strength in ((3.0, None), (1.0, None), (3.0, 0.5)):
        steps.set_timesteps(6, sigmas=np.linspace(1, 1 / 6, 6))
        x, begin = noise.clone(), 0
        if strength is not None:
            begin = 6 - int(6 * strength)
            x = steps.scale_noise(latents(picture), steps.timesteps[begin : begin + 1], noise)
            steps.set_begin_index(begin)
        taken = []
        for time in steps.timesteps[begin:]:
            without, velocity = transformer(torch.cat([x, x]), time.expand(2), both, mask, torch.tensor([2, 2])).chunk(2)
            velocity = without + guidance * (velocity - without) if guidance > 1 else velocity
            x = steps.step(velocity, time, x).prev_sample
            taken.append(x[0].numpy().copy())
        name = f"txt2img_flow_euler_s6_g{guidance}" if strength is None else f"img2img_flow_euler_s6_g{guidance}_st{strength}"
        values[name], values[f"{name}.latents"] = (decoder(x) / 2 + 0.5).numpy(), np.stack(taken)
    np.savez_compressed(folder / "expected.npz", **values)


def tiles(folder, vae):
    """The autoencoder's own tiles, for a picture that is larger than one of them."""
    random = torch.Generator().manual_seed(17)
    latents = torch.randn((1, 4, 21, 13), generator=random)
    picture = torch.rand((1, 3, 42, 26), generator=random) * 2 - 1
    vae.enable_tiling()
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    encoded = vae.encode(picture).latent_dist.mode() * vae.config.scaling_factor
    vae.disable_tiling()
    values = {"latents": latents, "decoded": decoded, "picture": picture, "encoded": encoded}
    np.savez_compressed(folder / "tiles.npz", **{name: value.numpy() for name, value in values.items()})


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    # The latents of a picture are the mode of what the encoder says, in every pipeline.
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    tokenizer = models.tokenizer(folder / "shared" / "tokenizer", "<|endoftext|>")
    encoder = models.text_encoder(tokenizer, 3, False, 21)
    models.write_text(encoder, folder / "shared" / "text_encoder", False)
    vae = models.autoencoder(20, 0.18215)
    models.write_vae(vae, folder / "shared", mode=False)
    shared = {"tokenizer": tokenizer, "text_encoder": encoder, "vae": vae}
    parts = {**shared, "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    with torch.no_grad():
        plain(folder / "plain", parts)
        masked(folder / "masked", parts)
        consistency(folder / "consistency", parts)
        controlled(folder / "controlled", parts)
        large(folder / "large", shared)
        tiles(folder / "shared", vae)
        flow(folder / "flow", sentence(folder / "sentence"))


main()
