/* The load that others make, from /proc. */
#include "load.h"
#include "base/clock.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Seconds that all cores were at work, and how many there are; 0: not known. */
static int read_busy(double *seconds)
{
    unsigned long long user, nice, kernel, irq = 0, soft = 0;
    char line[512];
    int cores = 0;
    FILE *stat = fopen("/proc/stat", "re");
    if (!stat)
        return 0;
    bool known =
        fgets(line, sizeof line, stat) && sscanf(line, "cpu %llu %llu %llu %*u %*u %llu %llu",
                                                 &user, &nice, &kernel, &irq, &soft) >= 3;
    while (known && fgets(line, sizeof line, stat) && !strncmp(line, "cpu", 3))
        cores++;
    fclose(stat);
    if (cores)
        *seconds = (double)(user + nice + kernel + irq + soft) / (double)sysconf(_SC_CLK_TCK);
    return cores;
}

/* Seconds that a process has used, and the children that it has waited for. 0: there is none. */
static double used_by(pid_t pid)
{
    unsigned long own[2] = {0}, children[2] = {0};
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "re");
    if (!stat)
        return 0;
    const char *name = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
    if (name)
        sscanf(name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &own[0],
               &own[1], &children[0], &children[1]);
    fclose(stat);
    return (double)(own[0] + own[1] + children[0] + children[1]) / (double)sysconf(_SC_CLK_TCK);
}

void tune_load_begin(tune_load *load, double least_s)
{
    *load = (tune_load){.least_s = least_s};
    if (read_busy(&load->busy_s)) {
        load->own_s = used_by(getpid());
        load->since = ef__now();
    }
}

bool tune_load_is_high(tune_load *load, pid_t worker, char *text, size_t size)
{
    const double seconds = ef__now() - load->since;
    double busy_s;
    if (load->since == 0 || seconds < load->least_s)
        return false;
    const int cores = read_busy(&busy_s);
    const double own_s = used_by(getpid()) + used_by(worker) - load->own_s;
    const double others = (busy_s - load->busy_s - own_s) / seconds;
    load->since = 0;
    snprintf(text, size, "other processes use %.1f of %d cores", others, cores);
    return cores && others > 0.5 * cores;
}
