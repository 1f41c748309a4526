/* energyflow_cl.h -- for programs that use OpenCL beside the library. */
#ifndef ENERGYFLOW_CL_H
#define ENERGYFLOW_CL_H

/* What the library keeps to; a program may ask for more before it includes this. */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include "energyflow.h"
#include <CL/cl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ef_actor_adopt -- an actor on a caller's context and in-order queue, both retained. The caller
 * may go on enqueueing on the queue between the library's calls; it waits for nobody. EF_TRACE
 * shows what the device did if the queue has CL_QUEUE_PROFILING_ENABLE, else the host's side alone.
 * Errors: EARG (the queue is out of order, or of another context), EDEVICE, EIO. */
ef_status ef_actor_adopt(cl_context context, cl_command_queue queue, ef_actor **actor,
                         ef_error *error);

/* ef_tensor_cl_mem -- the buffer under a tensor and where it starts in it, in elements. Not
 * retained: valid while the tensor is. Whoever writes to it must tell the library by
 * ef_tensor_touch. */
ef_status ef_tensor_cl_mem(const ef_tensor *tensor, cl_mem *mem, size_t *offset);

/* ef_tensor_touch -- the memory under tensor was written by other means: derived layouts are
 * stale. */
void ef_tensor_touch(ef_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
