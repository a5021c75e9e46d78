"""faiss-cpu over a file of float32 unit vectors, for bench/search.ts: one JSON line in, one out."""
import json
import sys
import time

import faiss
import numpy as np

path, dimension, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
faiss.omp_set_num_threads(threads)
vectors = np.fromfile(path, dtype=np.float32).reshape(-1, dimension)
count = len(vectors)
lists = max(1, min(4096, round(count**0.5)))

flat = faiss.IndexFlatIP(dimension)
flat.add(vectors)
built = {}


def ivf(kind):
    quantizer = faiss.IndexFlatIP(dimension)
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "ivf":
        index = faiss.IndexIVFFlat(quantizer, dimension, lists, metric)
    else:
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, lists, faiss.ScalarQuantizer.QT_8bit, metric
        )
    began = time.perf_counter()
    index.train(vectors[:: max(1, count // (lists * 64))])
    index.add(vectors)
    built[kind] = time.perf_counter() - began
    return index


indexes = {"flat": flat, "ivf": ivf("ivf"), "sq8": ivf("sq8")}
print(
    f"faiss {faiss.__version__}, {lists} lists; IVFFlat built in {built['ivf']:.1f} s, SQ8 in {built['sq8']:.1f} s",
    flush=True,
)
for line in sys.stdin:
    asked = json.loads(line)
    index = indexes[asked["kind"]]
    if asked["nprobe"]:
        index.nprobe = asked["nprobe"]
    query = np.array([asked["query"]], dtype=np.float32)
    began = time.perf_counter()
    _, ids = index.search(query, 10)
    took = time.perf_counter() - began
    print(json.dumps({"ms": 1000 * took, "ids": ids[0].tolist()}), flush=True)
