/* kernels.h -- the OpenCL C sources of cl/, compiled into the library by cl/embed.sh.
 *
 * One entry per cl/NAME.cl, in the order of Makefile.am. Constant and complete at compile time: no
 * lock, nothing to free. */
#ifndef EF_ACTOR_KERNELS_H
#define EF_ACTOR_KERNELS_H

#include <stddef.h>

typedef struct ef__kernel_source {
    const char *name;         /* file name without folder and ".cl" */
    const char *const *lines; /* each ends in a newline */
    size_t count;             /* lines, at least 1 */
} ef__kernel_source;

extern const ef__kernel_source ef__kernel_sources[];
extern const size_t ef__kernel_source_count;

#endif
