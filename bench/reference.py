"""PyTorch and transformers on the shapes that `varyclip bench` measures, with random weights.

usage: python bench/reference.py tower|decode|page|start [--batch N] [--threads N] [--model DIR]
needs: pip install torch transformers
"""
import argparse, json, resource, statistics, time

started = time.time()
parser = argparse.ArgumentParser()
parser.add_argument('what')
parser.add_argument('--batch', type=int, default=1)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--model')
arguments = parser.parse_args()

import torch
from transformers import OPTConfig, OPTForCausalLM, SamVisionConfig, SamVisionModel

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
else:
    raise SystemExit('expected tower, decode or page')
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({'bench': arguments.what, **result, 'peakRssBytes': rss, 'torch': torch.__version__, 'threads': arguments.threads}))
