/* worker.h -- the process that touches the device for eftune: it answers requests, lines of JSON on
 * standard input, with one line each on standard output, and ends with its input. It may die of any
 * of them: the supervisor keeps the books.
 *
 *   {"do": "device"}                     -> {"name", "platform", "driver", "key", "units", ...}
 *   {"do": "open", "target": TEXT}       -> {"choices": [{"variant", "knobs", "source", "untuned"}, ..],
 *                                            "default": INDEX, "flops", "bytes", "n": [..]}
 *   {"do": "verify", "choice": INDEX}    -> {"worst": error over its bound, "text"}
 *   {"do": "time", "choices": [INDEX..]} -> {"ms": [one call of each, timed in that order]}
 * A request that fails answers {"failed": "compile" | "runtime", "text"}. The first line is
 * {"ready": true}, or {"failed": "usage" | "runtime", "text"}. */
#ifndef TUNE_WORKER_H
#define TUNE_WORKER_H

/* Exit status. */
int tune_worker(const char *device);

#endif
