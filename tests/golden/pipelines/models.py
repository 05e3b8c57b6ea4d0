"""Tiny diffusion models with fixed random weights, and their ONNX files in the layout of optimum."""

import json
from pathlib import Path

import onnx
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

OPSET = 17
HIDDEN = 16
SIDE = 8
BLOCKS = (8, 16)
WORDS = ["photo", "of", "the", "cat", "dog", "red", "blue", "horse", "on", "mars"]


def seeded(make, seed, scale=1.0):
    """A module whose weights are wide enough that everything has an effect."""
    torch.manual_seed(seed)
    module = make().eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() > 1:
                fan_in = weight[0].numel()
                weight.copy_(torch.randn(weight.shape) * scale / fan_in**0.5)
            elif name.endswith("bias"):
                weight.copy_(torch.randn(weight.shape) * 0.1)
            else:
                weight.copy_(1 + torch.randn(weight.shape) * 0.1)
    return module


def tokenizer(folder: Path, padding: str) -> CLIPTokenizer:
    """Bytes, bytes at the end of words, and a few words in full."""
    folder.mkdir(parents=True, exist_ok=True)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    vocabulary = symbols + [symbol + "</w>" for symbol in symbols]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
                vocabulary.append("".join(pair))
            parts = ["".join(pair), *parts[2:]]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: n for n, token in enumerate(dict.fromkeys(vocabulary))}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": padding,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    return CLIPTokenizer.from_pretrained(folder)


def text_encoder(vocabulary: CLIPTokenizer, layers: int, projected: bool, seed: int):
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=HIDDEN,
        bos_token_id=vocabulary.bos_token_id,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
        hidden_act="gelu" if projected else "quick_gelu",
        attn_implementation="eager",
    )
    return seeded(lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config), seed)


def unet(seed: int, **options) -> UNet2DConditionModel:
    options = {"cross_attention_dim": HIDDEN, "in_channels": 4, **options}
    return seeded(
        lambda: UNet2DConditionModel(
            sample_size=SIDE,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=BLOCKS,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=2,
            norm_num_groups=4,
            **options,
        ),
        seed,
    )


def control_net(seed: int) -> ControlNetModel:
    return seeded(
        lambda: ControlNetModel(
            in_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            block_out_channels=BLOCKS,
            layers_per_block=1,
            cross_attention_dim=HIDDEN,
            attention_head_dim=2,
            norm_num_groups=4,
            conditioning_embedding_out_channels=(8, 8),
        ),
        seed,
    )


def autoencoder(seed: int, scale: float) -> AutoencoderKL:
    return seeded(
        lambda: AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=2 * SIDE,
            scaling_factor=scale,
        ),
        seed,
    )


class Text(nn.Module):
    """What optimum exports of a text encoder: last state, whole text, every layer."""

    def __init__(self, encoder, projected: bool):
        super().__init__()
        self.encoder, self.projected = encoder, projected

    def forward(self, input_ids):
        said = self.encoder(input_ids, output_hidden_states=True)
        if self.projected:
            return said.text_embeds, said.last_hidden_state, *said.hidden_states
        return said.last_hidden_state, said.pooler_output, *said.hidden_states


class Denoiser(nn.Module):
    """A UNet or a ControlNet, its inputs by place."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        named = dict(zip(self.names, inputs))
        added = {name: named.pop(name) for name in ("text_embeds", "time_ids") if name in named}
        if added:
            named["added_cond_kwargs"] = added
        down = [named.pop(name) for name in self.names if name.startswith("down_block")]
        if down:
            named["down_block_additional_residuals"] = tuple(down)
        if isinstance(self.model, ControlNetModel):
            down, middle = self.model(**named, return_dict=False)
            return *down, middle
        return self.model(**named, return_dict=False)[0]


class Decode(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, latent_sample):
        return self.vae.decode(latent_sample, return_dict=False)[0]


class Encode(nn.Module):
    """The mode of what the encoder says, or, as optimum writes it now, mean and logarithm of the variance."""

    def __init__(self, vae, mode: bool):
        super().__init__()
        self.vae, self.mode = vae, mode

    def forward(self, sample):
        said = self.vae.encode(sample).latent_dist
        return said.mode() if self.mode else said.parameters


def write(module, path: Path, inputs: dict, outputs: list, axes: dict) -> None:
    """Exports a module; the graph without the names that only people read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    graph = model.graph
    kept = {port.name for port in [*graph.input, *graph.output]}
    short: dict[str, str] = {"": ""}
    for node in graph.node:
        node.name = node.doc_string = ""
        for names in (node.input, node.output):
            for n, name in enumerate(names):
                names[n] = name if name in kept else short.setdefault(name, f"t{len(short)}")
    for weight in graph.initializer:
        weight.name = short.get(weight.name, weight.name)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_text(encoder, folder: Path, projected: bool) -> None:
    names = ["text_embeds", "last_hidden_state"] if projected else ["last_hidden_state", "pooler_output"]
    names += [f"hidden_states.{n}" for n in range(encoder.config.num_hidden_layers + 1)]
    axes = {"input_ids": {0: "batch_size", 1: "sequence_length"}, **{name: {0: "batch_size"} for name in names}}
    ids = torch.randint(0, 400, (2, 77))
    write(Text(encoder, projected), folder / "model.onnx", {"input_ids": ids}, names, axes)
    encoder.config.to_json_file(folder / "config.json")


def write_denoiser(model, folder: Path, inputs: dict, outputs: list, rows: int | None = None) -> None:
    """`rows`: the graph reads so many at a time, no more and no fewer."""
    spatial = {0: "batch_size", 2: "height", 3: "width"}
    if rows is not None:
        inputs = {name: value[:rows] if value.dim() > 1 else value for name, value in inputs.items()}
    # A time for all rows has no number of rows.
    of_rows = {name: value for name, value in inputs.items() if value.dim() > 1 or len(value.reshape(-1)) > 1}
    axes = {name: spatial if value.dim() == 4 else {0: "batch_size"} for name, value in of_rows.items()}
    axes |= {name: spatial for name in outputs}
    if rows is not None:
        axes = {name: {n: axis for n, axis in named.items() if n > 0} for name, named in axes.items()}
    write(Denoiser(model, list(inputs)), folder / "model.onnx", inputs, outputs, axes)
    model.save_config(folder)


class Flow(nn.Module):
    """A velocity that depends on everything a latent-flow transformer reads."""

    def __init__(self, channels=6, width=16, styles=3):
        super().__init__()
        self.text, self.style = nn.Linear(width, 12), nn.Embedding(styles, 12)
        self.inlet, self.outlet = nn.Conv2d(channels, 12, 3, padding=1), nn.Conv2d(12, channels, 3, padding=1)

    def forward(self, hidden_states, timestep, encoder_hidden_states, encoder_attention_mask, style):
        kept = encoder_attention_mask.to(hidden_states.dtype)[:, :, None]
        text = (self.text(encoder_hidden_states) * kept).sum(1) / kept.sum(1).clamp(min=1)
        time = torch.cos(timestep[:, None] / 1000 * torch.arange(12))
        condition = (text + self.style(style) + time)[:, :, None, None]
        return self.outlet(torch.tanh(self.inlet(hidden_states) + condition))


class Colours(nn.Module):
    """From latents to red, green, blue and alpha, each latent four pixels."""

    def __init__(self, channels=6):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, latent_sample):
        return torch.tanh(self.layers(latent_sample))


class Latents(nn.Module):
    """The way back, more or less."""

    def __init__(self, channels=6):
        super().__init__()
        self.layer = nn.Conv2d(4, channels, 4, stride=2, padding=1)

    def forward(self, sample):
        return self.layer(sample)


class Sentence(nn.Module):
    """What a token means, with a bit of its neighbours."""

    def __init__(self, words=12, width=16):
        super().__init__()
        self.words = nn.Embedding(words, width)

    def forward(self, input_ids, attention_mask):
        states = self.words(input_ids) * attention_mask[:, :, None]
        return states + 0.3 * states.cumsum(1)


def write_vae(vae, folder: Path, mode: bool) -> None:
    spatial = {0: "batch_size", 2: "height", 3: "width"}
    latent, picture = torch.randn(1, 4, SIDE, SIDE), torch.rand(1, 3, 2 * SIDE, 2 * SIDE)
    output = "latent_sample" if mode else "latent_parameters"
    write(Decode(vae), folder / "vae_decoder" / "model.onnx", {"latent_sample": latent}, ["sample"], {"latent_sample": spatial, "sample": spatial})
    write(Encode(vae, mode), folder / "vae_encoder" / "model.onnx", {"sample": picture}, [output], {"sample": spatial, output: spatial})
    for part in ("vae_decoder", "vae_encoder"):
        vae.save_config(folder / part)
