/* The little of OpenCL that op/linear.c needs to hand CLBlast a queue. */
#ifndef EF_ACTOR_CL_H
#define EF_ACTOR_CL_H

#include "actor/actor.h"
#include <CL/cl.h>

cl_command_queue ef__queue(ef_actor *a);
cl_mem ef__tensor_mem(const ef_tensor *t, size_t *offset_elements);

/* Report that function returned code. */
ef_status ef__cl_fail(ef_actor *a, const char *op, const char *function, cl_int code);
const char *ef__cl_name(cl_int code); /* "CL_OUT_OF_RESOURCES" */

/* Count launches made on the actor's queue by others. */
void ef__count_launches(ef_actor *a, unsigned n);

/* Take over event (of op) so that the sync checks its status. */
void ef__keep_event(ef_actor *a, cl_event event, const char *op);

#endif
