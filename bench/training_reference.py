"""PyTorch eager: one training step of transformers' OPT per line on standard input; prints its seconds."""
import json
import sys
import time

import torch
from transformers import OPTConfig, OPTForCausalLM

shape = json.loads(sys.argv[1])
torch.set_num_threads(shape["threads"])
torch.manual_seed(0)
config = OPTConfig(
    vocab_size=shape["vocabSize"], hidden_size=shape["width"], word_embed_proj_dim=shape["width"],
    num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], ffn_dim=shape["mlpWidth"],
    max_position_embeddings=shape["maxPositions"], dropout=0.0, attention_dropout=0.0,
)
model = OPTForCausalLM(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
ids = torch.randint(4, shape["vocabSize"], (shape["rows"], shape["length"]))
for _ in sys.stdin:
    started = time.perf_counter()
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print(time.perf_counter() - started, flush=True)
