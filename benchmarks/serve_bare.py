"""The limit of serving: decoding and ONNX Runtime alone, without server and client.

Run by the Python of the serving environment, so with the server's versions:

    python -m benchmarks.serve_bare SECONDS MODEL RECORD|- PHOTOGRAPH...

One process a core, each with one thread and one image at a time, as a server gets them.
With "-" for the preprocessing record, the files are arrays (``.npy``) of pixels.
Prints JSON: done, cpu (seconds), p50 and p99 (ms).
"""

import json
import multiprocessing
import os
import sys
import time

import cv2
import numpy as np
import onnxruntime

from data_prep.preprocessing import Preprocessing


def work(seconds: float, model: str, record: str, paths: list[str], barrier, results):
    """Classify the files in turn; report how long each took, and the processor time."""
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    if record == "-":
        images, prepare = [np.load(path) for path in paths], np.asarray
    else:
        images = []
        for path in paths:
            with open(path, "rb") as file:
                images.append(file.read())
        prepare = Preprocessing.load(record).apply

    def classify(image) -> None:
        (answers,) = session.run(["probabilities"], {"image": prepare(image)[None]})
        answers.argmax()

    for image in images:
        classify(image)
    barrier.wait()
    times, cpu = [time.perf_counter()], time.process_time()
    while times[-1] - times[0] < seconds:
        classify(images[len(times) % len(images)])
        times.append(time.perf_counter())
    results.put((np.diff(times), time.process_time() - cpu))


def main(seconds: str, model: str, record: str, *paths: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = len(os.sched_getaffinity(0))
    barrier, results = context.Barrier(workers), context.Queue()
    arguments = (float(seconds), model, record, paths, barrier, results)
    processes = [context.Process(target=work, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    times, cpu = zip(*(results.get() for _ in processes))
    for process in processes:
        process.join()
    times = np.concatenate(times)
    p50, p99 = 1e3 * np.percentile(times, [50, 99])
    print(json.dumps({"done": len(times), "cpu": sum(cpu), "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main(*sys.argv[1:])
