"""Writes the flow's pipeline: weights/emoji-flow, in the layout of diffusers."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

import onnx_files
from autoencoder import IMAGE_CHANNELS, IMAGE_SIZE, LATENT_CHANNELS, LATENT_SIZE, Autoencoder, Decoder, Encoder, LatentScale
from flow import ANY_STYLE, MAX_TOKENS, STYLES, TEXT_WIDTH, TIMESTEPS, Flow

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "emoji-flow"
# What samples look best with, see README.md.
GUIDANCE, STEPS, SHIFT, STYLE = 4.0, 25, 1.0, "noto"

INDEX = {
    "_class_name": "LatentFlowPipeline",
    "text_encoder": ["atelier", "multilingual-e5-small"],
    "transformer": ["atelier", "LatentFlowTransformer"],
    "vae_decoder": ["atelier", "AutoencoderDecoder"],
    "vae_encoder": ["atelier", "AutoencoderEncoder"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": TIMESTEPS,
    "shift": SHIFT,
    "use_dynamic_shifting": False,
}


class Transformer(nn.Module):
    """The flow as pipelines call it: time in thousandths."""

    def __init__(self, flow: Flow):
        super().__init__()
        self.flow = flow

    def forward(self, hidden_states, timestep, encoder_hidden_states, encoder_attention_mask, style):
        return self.flow(hidden_states, timestep / TIMESTEPS, encoder_hidden_states, encoder_attention_mask, style)


class ScaledDecoder(nn.Module):
    """From latents of unit variance."""

    def __init__(self, decoder: Decoder, scale: LatentScale):
        super().__init__()
        self.decoder, self.scale = decoder, scale

    def forward(self, latent):
        return self.decoder(self.scale.restore(latent)).clamp(-1, 1)


class ScaledEncoder(nn.Module):
    """To the mean, at unit variance."""

    def __init__(self, encoder: Encoder, scale: LatentScale):
        super().__init__()
        self.encoder, self.scale = encoder, scale

    def forward(self, picture):
        return self.scale.normalise(self.encoder(picture)[0])


def preview(work: Path) -> dict:
    """The linear map from latents to colours that comes nearest."""
    latents = np.load(work / "latents.npy")
    pictures = np.load(work / "pictures.npy", mmap_mode="r")
    some = np.arange(0, len(latents), 7)
    side = IMAGE_SIZE // LATENT_SIZE
    places = latents[some].transpose(0, 2, 3, 1).reshape(-1, LATENT_CHANNELS)
    cells = pictures[some, :, :, :3].reshape(-1, LATENT_SIZE, side, LATENT_SIZE, side, 3).mean((2, 4)) / 127.5 - 1
    solution = np.linalg.lstsq(np.c_[places, np.ones(len(places))], cells.reshape(-1, 3), rcond=None)[0]
    return {"weights": solution[:-1].round(5).tolist(), "bias": solution[-1].round(5).tolist()}


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def pipeline(folder: Path, flow: Flow, autoencoder: Autoencoder, scale: LatentScale, colours: dict) -> None:
    """The whole folder but its model card."""
    write_json(folder / "model_index.json", INDEX)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(
        folder / "transformer" / "config.json",
        {
            "_class_name": "LatentFlowTransformer",
            "in_channels": LATENT_CHANNELS,
            "sample_size": LATENT_SIZE,
            "cross_attention_dim": TEXT_WIDTH,
            "max_sequence_length": MAX_TOKENS,
            "styles": list(STYLES),
            "default_style": STYLE,
            "guidance_scale": GUIDANCE,
            "num_inference_steps": STEPS,
        },
    )
    common = {
        "latent_channels": LATENT_CHANNELS,
        "sample_size": IMAGE_SIZE,
        "scaling_factor": 1.0,
        "spatial_compression_ratio": IMAGE_SIZE // LATENT_SIZE,
    }
    decoder = {"_class_name": "AutoencoderDecoder", "out_channels": IMAGE_CHANNELS, **common, "preview_rgb": colours}
    write_json(folder / "vae_decoder" / "config.json", decoder)
    write_json(folder / "vae_encoder" / "config.json", {"_class_name": "AutoencoderEncoder", "in_channels": IMAGE_CHANNELS, **common})

    torch.manual_seed(0)
    latent = torch.randn(2, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    onnx_files.write(
        Transformer(flow),
        folder / "transformer" / "model.onnx",
        {
            "hidden_states": latent,
            "timestep": torch.tensor([1000.0, 250.0]),
            "encoder_hidden_states": torch.randn(2, 9, TEXT_WIDTH) * 0.3,
            "encoder_attention_mask": torch.tensor([[1] * 9, [0] * 9]),
            "style": torch.tensor([0, ANY_STYLE]),
        },
        ["sample"],
        {"encoder_hidden_states": {1: "seq"}, "encoder_attention_mask": {1: "seq"}},
    )
    onnx_files.write(ScaledDecoder(autoencoder.decoder, scale), folder / "vae_decoder" / "model.onnx", {"latent_sample": latent}, ["sample"])
    picture = torch.rand(2, IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1
    onnx_files.write(ScaledEncoder(autoencoder.encoder, scale), folder / "vae_encoder" / "model.onnx", {"sample": picture}, ["latent_sample"])


def trained(work: Path) -> tuple[Flow, Autoencoder, LatentScale]:
    """The running averages of the latest checkpoints, with the polished decoder where there is one."""
    flow, autoencoder, scale = Flow(), Autoencoder(), LatentScale()
    flow.load_state_dict(torch.load(work / "flow.pt", weights_only=True)["average"])
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True)["average"])
    polished = work / "decoder.pt"
    if polished.exists():
        autoencoder.decoder.load_state_dict(torch.load(polished, weights_only=True)["average"])
    scale.load_state_dict(torch.load(work / "latent_scale.pt", weights_only=True))
    return flow, autoencoder, scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    parser.add_argument("--untrained", action="store_true", help="random weights of the final shapes, to build against")
    options = parser.parse_args()
    if options.untrained:
        torch.manual_seed(0)
        flow, autoencoder = Flow(), Autoencoder()
        nn.init.normal_(flow.outlet.weight, std=0.02)
        blank = {"weights": np.zeros((LATENT_CHANNELS, 3)).tolist(), "bias": [0.0] * 3}
        return pipeline(options.folder, flow, autoencoder, LatentScale(), blank)
    pipeline(options.folder, *trained(options.work), preview(options.work))


if __name__ == "__main__":
    main()
