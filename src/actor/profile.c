/* Device time. On a queue that keeps the times of its commands each of them leaves an event behind,
 * and when that is done its time goes to whoever measures. */
#include "actor/trace.h"

bool ef__event_times(const ef__event *e, uint64_t *from, uint64_t *to)
{
    const cl_profiling_info start =
        e->before ? CL_PROFILING_COMMAND_END : CL_PROFILING_COMMAND_START;
    cl_ulong begun, ended;
    if (clGetEventProfilingInfo(e->before ? e->before : e->event, start, sizeof begun, &begun,
                                NULL) ||
        clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_END, sizeof ended, &ended, NULL))
        return false;
    *from = begun;
    *to = ended;
    return ended >= begun;
}

void ef__profile_done(ef_actor *a, ef__event *e)
{
    uint64_t from, to;
    if (!a->profiling)
        return;
    if (!ef__event_times(e, &from, &to)) {
        ef__span_drop(e->span);
    } else {
        if (e->sequence >= a->timed_from)
            a->timed_ns += to - from;
        if (e->span)
            ef__span_done(a, e->span, from, to);
    }
    e->span = NULL;
}

static ef_status want_times(ef_actor *a)
{
    return a->profiling ? ef__ready(a)
                        : ef__fail(a, EF_ESTATE, 0, "profile",
                                   "profile: the queue keeps no times of its commands");
}

ef_status ef__profile_begin(ef_actor *a)
{
    ef__lock(a);
    ef_status status = want_times(a);
    a->timed_from = a->sequence + 1;
    a->timed_ns = 0;
    ef__unlock(a);
    return status;
}

ef_status ef__profile_end(ef_actor *a, uint64_t *ns)
{
    ef__lock(a);
    ef_status status = want_times(a);
    ef__unlock(a);
    if (!status)
        status = ef_actor_finish(a);
    ef__lock(a);
    while (a->syncing) /* it may have events of ours */
        pthread_cond_wait(&a->changed, &a->lock);
    if (!status)
        *ns = a->timed_ns;
    ef__unlock(a);
    return status;
}
