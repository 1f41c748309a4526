/* signals.h -- SIGINT and SIGTERM: the first asks a command to end well, the second kills. */
#ifndef EF_CMD_SIGNALS_H
#define EF_CMD_SIGNALS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct ef__signals {
    sigset_t set;
    pthread_t waiting; /* for them */
    atomic_bool interrupted;
} ef__signals;

/* ef__signals_catch -- from now on. Before anything opens a device, so that its threads have the
 * signals blocked. 0, or the status to exit with. */
int ef__signals_catch(ef__signals *signals, const char *command);

/* ef__signals_release -- from here on a signal kills: all that was to be saved is. */
void ef__signals_release(ef__signals *signals);

#endif
