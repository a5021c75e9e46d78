"""PyTorch and transformers on the shapes that `varyclip bench` measures, with random weights.

usage: python bench/reference.py tower|decode|page|clip-b32|clip-l14|start [--batch N] [--threads N] [--export DIR] [--model DIR]
needs: pip install torch transformers; --export (CLIP for transformers.js, as ONNX) also onnx
"""
import argparse, json, os, resource, statistics, time

started = time.time()

parser = argparse.ArgumentParser()
parser.add_argument('what')
parser.add_argument('--batch', type=int, default=1)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--export')
parser.add_argument('--model')
arguments = parser.parse_args()

import torch
from transformers import (
    CLIPVisionConfig, CLIPVisionModelWithProjection, OPTConfig, OPTForCausalLM, SamVisionConfig, SamVisionModel)

torch.set_num_threads(arguments.threads)
torch.manual_seed(0)
torch.set_grad_enabled(False)


class Tower(torch.nn.Module):
    """SAM ViT-B's encoder as transformers has it, and Vary's two convolutions."""

    def __init__(self):
        super().__init__()
        # eager: SAM's own module, which adds the relative positions to the scores.
        self.encoder = SamVisionModel._from_config(SamVisionConfig(), attn_implementation='eager')
        self.net_2 = torch.nn.Conv2d(256, 512, 3, stride=2, padding=1, bias=False)
        self.net_3 = torch.nn.Conv2d(512, 1024, 3, stride=2, padding=1, bias=False)
        self.projector = torch.nn.Linear(1024, 768)

    def forward(self, pixels):
        x = self.net_3(self.net_2(self.encoder(pixels).last_hidden_state))
        return self.projector(x.flatten(2).permute(0, 2, 1))


def make_decoder():
    config = OPTConfig(vocab_size=50268, max_position_embeddings=4096)
    return OPTForCausalLM(config).eval()


def median_seconds(run, count):
    times = []
    for _ in range(count):
        t = time.time()
        run()
        times.append(time.time() - t)
    return statistics.median(times)


def decode(model, batch, tokens, prompt=260):
    ids = torch.arange(100, 100 + prompt).repeat(batch, 1)
    out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    times = []
    for _ in range(tokens):
        t = time.time()
        out = model(input_ids=out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
        times.append(time.time() - t)
    return times


def make_clip(what, attention):
    sizes = {} if what == 'clip-b32' else dict(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14, projection_dim=768)
    return CLIPVisionModelWithProjection._from_config(CLIPVisionConfig(**sizes), attn_implementation=attention).eval()


def start(folder):
    """From the start of the process to the tower's first operation, the weights loaded from a Vary-tiny checkpoint; a short reading."""
    from safetensors import safe_open
    from transformers.utils import logging
    logging.set_verbosity_error()
    decoder = OPTForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tower = Tower().eval()
    # SAM's own names differ from transformers': every tensor is read and goes where one of its shape belongs.
    places = {}
    for parameter in tower.parameters():
        places.setdefault(tuple(parameter.shape), []).append(parameter)
    for name in sorted(os.listdir(folder)):
        if not name.endswith('.safetensors'):
            continue
        with safe_open(f'{folder}/{name}', 'pt') as file:
            for key in file.keys():
                if 'vision_tower' in key:
                    tensor = file.get_tensor(key)
                    room = places.get(tuple(tensor.shape))
                    if room:
                        room.pop().copy_(tensor)
    first = time.time() - started
    tower(torch.randn(1, 3, 1024, 1024))
    decode(decoder, 1, 20)
    with open('/proc/self/status') as status:
        steady = next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmRSS'))
    return {'secondsToTower': first, 'steadyRssBytes': steady}


def export_clip(what, folder):
    """The tower as transformers.js loads it."""
    model = make_clip(what, 'eager')
    os.makedirs(f'{folder}/onnx', exist_ok=True)
    json.dump({**model.config.to_dict(), 'model_type': 'clip_vision_model'}, open(f'{folder}/config.json', 'w'))
    class Embeds(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            return self.model(pixel_values).image_embeds

    torch.onnx.export(
        Embeds(), torch.randn(1, 3, 224, 224), f'{folder}/onnx/vision_model.onnx', dynamo=False, opset_version=18,
        input_names=['pixel_values'], output_names=['image_embeds'],
        dynamic_axes={'pixel_values': {0: 'batch'}, 'image_embeds': {0: 'batch'}})


if arguments.what == 'tower':
    tower, page = Tower().eval(), torch.randn(1, 3, 1024, 1024)
    tower(page)
    result = {'secondsPerPage': median_seconds(lambda: tower(page), 3)}
elif arguments.what == 'decode':
    times = decode(make_decoder(), arguments.batch, 65)[5:]
    step = statistics.median(times)
    result = {'millisecondsPerStep': 1000 * step, 'tokensPerSecond': arguments.batch / step}
elif arguments.what == 'page':
    tower, page, decoder = Tower().eval(), torch.randn(1, 3, 1024, 1024), make_decoder()
    result = {'seconds': median_seconds(lambda: (tower(page), decode(decoder, 1, 499)), 2)}
elif arguments.what == 'start':
    result = start(arguments.model)
elif arguments.what in ('clip-b32', 'clip-l14'):
    if arguments.export:
        export_clip(arguments.what, arguments.export)
        raise SystemExit(0)
    model, pixels = make_clip(arguments.what, 'sdpa'), torch.randn(arguments.batch, 3, 224, 224)
    for _ in range(3):
        model(pixel_values=pixels)
    result = {'millisecondsPerImage': 1000 * median_seconds(lambda: model(pixel_values=pixels), 15) / arguments.batch}
else:
    raise SystemExit('expected tower, decode, page, start, clip-b32 or clip-l14')
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({'bench': arguments.what, **result, 'peakRssBytes': rss, 'torch': torch.__version__, 'threads': arguments.threads}))
