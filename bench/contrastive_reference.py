"""PyTorch eager: one contrastive training step of transformers' CLIPModel per line on standard input; prints its seconds."""
import json
import sys
import time

import torch
from transformers import CLIPConfig, CLIPModel

shape = json.loads(sys.argv[1])
torch.set_num_threads(shape["threads"])
torch.manual_seed(0)
model = CLIPModel(CLIPConfig.from_dict({**shape["config"], "attn_implementation": "sdpa"})).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
text, vision = shape["config"]["text_config"], shape["config"]["vision_config"]
pixels = torch.randn(shape["rows"], 3, vision["image_size"], vision["image_size"])
ids = torch.randint(0, text["vocab_size"] - 2, (shape["rows"], shape["length"]))
ids[:, -1] = text["eos_token_id"]
for _ in sys.stdin:
    started = time.perf_counter()
    optimizer.zero_grad()
    model(input_ids=ids, pixel_values=pixels, return_loss=True).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print(time.perf_counter() - started, flush=True)
