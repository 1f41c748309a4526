#include "base/error.h"
#include <stdio.h>
#include <string.h>

const char *ef_strerror(ef_status status)
{
    static const char *const text[] = {
#define STATUS_TEXT(name, what) what,
        EF_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    };
    size_t n = sizeof text / sizeof *text;
    return (size_t)status < n ? text[status] : "unknown status";
}

ef_status ef__error_setv(ef_error *error, ef_status status, int code, const char *op,
                         const char *format, va_list args)
{
    if (error) {
        error->status = status;
        error->code = code;
        snprintf(error->op, sizeof error->op, "%s", op ? op : "");
        vsnprintf(error->text, sizeof error->text, format, args);
    }
    return status;
}

ef_status ef__error_set(ef_error *error, ef_status status, int code, const char *op,
                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ef__error_setv(error, status, code, op, format, args);
    va_end(args);
    return status;
}
