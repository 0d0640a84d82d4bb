"""Times onnxruntime on the encoder of `web/vit.mjs`, one photo at a time.

    node benches/peers/web/export.mjs ti vit.onnx
    python benches/peers/vit_onnx.py vit.onnx
Waits for a line with a number before that many runs, and prints a JSON line for each.
Needs: pip install onnxruntime
"""

import json
import os
import sys
import time

import numpy as np
import onnxruntime


def main():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            (latent,) = session.run(None, {"image": image})
            seconds.append(time.perf_counter() - start)
        assert latent.shape[1] == 197 and np.isfinite(latent).all()
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
