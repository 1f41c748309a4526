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

/* Take over event (of op) so that the sync checks its status. before: NULL, or a marker that was
 * enqueued ahead of several commands of which only the last one's event is to be had; it is taken
 * over too, and they are timed as one. event NULL: there is nothing to check. */
void ef__keep_event(ef_actor *a, cl_event event, cl_event before, const char *op);

/* Such a marker; NULL where commands are not timed. */
cl_event ef__marker(ef_actor *a);

#endif
