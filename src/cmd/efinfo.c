/* efinfo -- the OpenCL devices of this machine: identity, limits, and the machine around them. */
#include "cmd/options.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "efinfo"

typedef struct settings {
    const char *device;
    bool json;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"device", EF__TEXT, &s->device, "D", .fallback = "all of them",
         .help = "this one only: index or part of the name"},
        {"json", EF__FLAG, &s->json, .help = "one JSON object instead of lines"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "[OPTION...]",
        .about =
            "List the OpenCL devices of this machine; * marks the one that is used when none is "
            "named.",
        .options = table};
    return ef__options_parse(&command, argc, argv);
}

static bool same_device(const ef_device_info *a, const ef_device_info *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->platform, b->platform) &&
           a->pci_domain == b->pci_domain && a->pci_bus == b->pci_bus &&
           a->pci_device == b->pci_device;
}

/* The place of an actor's device among all; two that cannot be told apart count as the first. */
static size_t index_of(const ef_device_info *wanted)
{
    ef_device_info info;
    size_t i, n = ef_device_count();
    for (i = 0; i < n; i++)
        if (!ef_device_describe(i, &info, NULL) && same_device(&info, wanted))
            break;
    return i;
}

/* ---- text ---- */

static void print_bytes(const char *what, uint64_t bytes)
{
    static const char *const units[] = {"byte", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    if (bytes)
        printf("    %-16s%.4g %s\n", what, value, units[unit]);
}

static void print_line(const char *what, const char *text)
{
    if (*text)
        printf("    %-16s%s\n", what, text);
}

static void print_tree(size_t index)
{
    char *text = NULL;
    if (ef_device_tree(index, &text, NULL))
        return;
    printf("    machine\n");
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        printf("      %.*s\n", (int)(end - line), line);
        end += *end == '\n';
    }
    free(text);
}

/* What is tuned for device number index; false: it cannot be said. */
static bool get_tuned(size_t index, ef_tune_info *tuned, ef_error *error)
{
    char name[24];
    ef_actor *actor;
    snprintf(name, sizeof name, "%zu", index);
    if (ef_actor_open(name, &actor, error))
        return false;
    bool known = !ef_tune_get(actor, tuned);
    if (!known)
        ef_actor_error(actor, error);
    ef_actor_close(actor);
    return known;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void print_choices(const ef_tune_info *t)
{
    printf("    %-16s%zu choice%s", "tuned", t->choices, plural(t->choices));
    if (t->stale)
        printf(", %zu of other kernels", t->stale);
    if (t->broken)
        printf(", %zu broken line%s", t->broken, plural(t->broken));
    printf(", %s\n", t->path);
    if (t->of_other_driver)
        printf("    %-16s%zu choice%s of another driver%s%s: eftune --check brings back those that "
               "are still good\n",
               "not used", t->of_other_driver, plural(t->of_other_driver), *t->driver ? ", " : "",
               t->driver);
}

static void print_tuned(size_t index)
{
    ef_tune_info t = {.clblast = ""};
    ef_error error;
    if (!get_tuned(index, &t, &error))
        print_line("tuned", error.text);
    else if (*t.error)
        printf("    %-16sno: %s\n", "tuned", t.error);
    else if (!*t.path)
        print_line("tuned", "no (see eftune)");
    else
        print_choices(&t);
    if (*t.clblast)
        print_line("CLBlast", t.clblast);
}

static void print_text(size_t index, const ef_device_info *d, bool chosen)
{
    printf("%c %zu: %s\n", chosen ? '*' : ' ', index, d->name);
    print_line("kind", d->is_gpu ? "GPU" : d->is_cpu ? "CPU" : "accelerator");
    print_line("vendor", d->vendor);
    print_line("platform", d->platform);
    print_line("version", d->version);
    print_line("driver", d->driver);
    if (d->pci_bus >= 0)
        printf("    %-16s%04x:%02x:%02x\n", "pci", (unsigned)d->pci_domain, (unsigned)d->pci_bus,
               (unsigned)d->pci_device);
    printf("    %-16s%u\n", "compute units", d->compute_units);
    printf("    %-16s%u floats\n", "vectors of", d->vector_width);
    printf("    %-16s%zu\n", "work-group", d->max_work_group);
    print_bytes("memory", d->global_bytes);
    print_bytes("largest buffer", d->max_alloc_bytes);
    print_bytes("local memory", d->local_bytes);
    print_line("host CPU", d->host_cpu);
    if (d->cores)
        printf("    %-16s%u\n", "cores", d->cores);
    print_bytes("L1 data cache", d->l1d_bytes);
    print_bytes("L2 cache", d->l2_bytes);
    print_bytes("L3 cache", d->l3_bytes);
    print_tuned(index);
    print_tree(index);
}

/* ---- JSON ---- */

static json_t *known(int value)
{
    return value < 0 ? json_null() : json_integer(value);
}

static json_t *pci_address(const ef_device_info *d)
{
    return d->pci_bus < 0 ? json_null()
                          : json_sprintf("%04x:%02x:%02x", (unsigned)d->pci_domain,
                                         (unsigned)d->pci_bus, (unsigned)d->pci_device);
}

static json_t *tree_lines(size_t index)
{
    char *text = NULL;
    json_t *lines = json_array();
    if (ef_device_tree(index, &text, NULL))
        return lines;
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        json_array_append_new(lines, json_stringn(line, (size_t)(end - line)));
        end += *end == '\n';
    }
    free(text);
    return lines;
}

static json_t *tuned_json(size_t index)
{
    ef_tune_info t;
    ef_error error;
    if (!get_tuned(index, &t, &error))
        return json_pack("{s:s}", "error", error.text);
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:s}", "path", t.path, "error", t.error,
                     "driver", t.driver, "choices", (json_int_t)t.choices, "of_other_driver",
                     (json_int_t)t.of_other_driver, "stale", (json_int_t)t.stale, "broken",
                     (json_int_t)t.broken, "clblast", t.clblast, "digest", t.digest);
}

static json_t *describe(size_t index, const ef_device_info *d, bool chosen)
{
    const char *kind = d->is_gpu ? "gpu" : d->is_cpu ? "cpu" : "accelerator";
    json_t *identity =
        json_pack("{s:I,s:b,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:s}", "index", (json_int_t)index,
                  "default", (int)chosen, "name", d->name, "kind", kind, "vendor", d->vendor,
                  "platform", d->platform, "version", d->version, "driver", d->driver, "pci",
                  pci_address(d), "extensions", d->extensions);
    json_t *limits = json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I}", "compute_units", (json_int_t)d->compute_units, "vector_width",
        (json_int_t)d->vector_width, "max_work_group", (json_int_t)d->max_work_group,
        "global_bytes", (json_int_t)d->global_bytes, "max_alloc_bytes",
        (json_int_t)d->max_alloc_bytes, "local_bytes", (json_int_t)d->local_bytes);
    json_t *place = json_pack("{s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:o}", "host_cpu", d->host_cpu,
                              "package", known(d->package), "numa_node", known(d->numa_node),
                              "cores", (json_int_t)d->cores, "l1d_bytes", (json_int_t)d->l1d_bytes,
                              "l2_bytes", (json_int_t)d->l2_bytes, "l3_bytes",
                              (json_int_t)d->l3_bytes, "tree", tree_lines(index));
    json_object_update(identity, limits);
    json_object_update(identity, place);
    json_object_set_new(identity, "tuned", tuned_json(index));
    json_decref(limits);
    json_decref(place);
    return identity;
}

/* ---- main ---- */

/* only: print the device number chosen and no other. */
static void list(size_t chosen, bool only, bool json)
{
    size_t n = ef_device_count();
    json_t *devices = json_array();
    ef_device_info info;
    for (size_t i = 0; i < n; i++) {
        if ((only && i != chosen) || ef_device_describe(i, &info, NULL))
            continue;
        if (json)
            json_array_append_new(devices, describe(i, &info, i == chosen));
        else
            print_text(i, &info, i == chosen);
    }
    if (json) {
        json_t *all = json_pack("{s:s,s:o}", "version", ef_version_full(), "devices", devices);
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(all);
    } else {
        json_decref(devices);
    }
}

int main(int argc, char **argv)
{
    settings s = {0};
    ef_actor *actor = NULL;
    ef__command_begin();
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    code = ef__open_device(NAME, s.device, &actor);
    if (!code || !s.device) {
        bool any = ef_device_count() > 0; /* without a device there is only the message */
        if (any || s.json)
            list(actor ? index_of(ef_actor_device(actor)) : SIZE_MAX, s.device != NULL, s.json);
    }
    ef_actor_close(actor);
    return ef__command_end(NAME, code);
}
