/* worker.h -- the process that touches the device for eftune: it answers requests, lines of JSON on
 * standard input, with one line each on standard output, and ends with its input. It may die of any
 * of them: the supervisor keeps the books.
 *
 *   {"do": "device"}          {"name", "platform", "driver", "key", "identity", "hardware", ...}
 *   {"do": "open", "target"}  {"choices": [{"variant", "knobs", "untuned"}, ..],
 *                              "default": its number, "source", "flops", "bytes",
 *                              "floor_ms": of both at the device's ceilings}
 *   {"do": "verify", "choice"}     {"worst": error over its bound, "text": where}
 *   {"do": "time", "choices": []}  {"ms": [of one call of each, timed in that order]}
 *                              before it, where a choice is new to this process:
 *                              {"built": true}, if it is when it is enqueued
 *
 * {"do": "open", "target", "clblast": kernels} has CLBlast take these parameters first. The target
 * "clblast" has {"products": [{"target", "weight"}, ..]} and answers {"fits", "group",
 * "local_bytes"}; a choice of it is an object of kernels with their parameters, or null for
 * CLBlast's own, to which there is no way back; with the times comes {"each": [of the last choice's
 * products]}.
 *
 * A request that fails answers {"failed": "compile" | "runtime", "text"}. The first line is
 * {"ready": true}, or {"failed": "usage" | "runtime", "text"}. */
#ifndef TUNE_WORKER_H
#define TUNE_WORKER_H

/* Exit status. */
int tune_worker(const char *device);

#endif
