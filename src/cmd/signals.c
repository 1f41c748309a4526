/* A thread takes the signals and they are blocked everywhere else, in threads and compilers that a
 * driver starts too: LLVM's own handlers would remove the files of a kernel that is being built. */
#include "cmd/signals.h"
#include "cmd/options.h"
#include <string.h>

static void *wait_for_signals(void *user)
{
    ef__signals *s = user;
    int number;
    sigwait(&s->set, &number);
    atomic_store(&s->interrupted, true);
    sigwait(&s->set, &number);
    signal(number, SIG_DFL); /* a driver may have put its own there */
    pthread_sigmask(SIG_UNBLOCK, &s->set, NULL);
    raise(number);
    return NULL;
}

/* What was ignored when the command began stays so (nohup, a shell's background). */
static void catch_signal(ef__signals *s, int number)
{
    struct sigaction old;
    if (sigaction(number, NULL, &old) || old.sa_handler == SIG_IGN)
        return;
    signal(number, SIG_DFL);
    sigaddset(&s->set, number);
}

int ef__signals_catch(ef__signals *s, const char *command)
{
    sigemptyset(&s->set);
    catch_signal(s, SIGINT);
    catch_signal(s, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &s->set, NULL);
    int code = pthread_create(&s->waiting, NULL, wait_for_signals, s);
    if (code)
        return ef__say_error(command, EF__RUNTIME, "no thread for signals: %s", strerror(code));
    return 0;
}

void ef__signals_release(ef__signals *s)
{
    pthread_cancel(s->waiting);
    pthread_join(s->waiting, NULL);
    pthread_sigmask(SIG_UNBLOCK, &s->set, NULL);
}
