/* Error values: filled once, first one wins. */
#ifndef EF_BASE_ERROR_H
#define EF_BASE_ERROR_H

#include "energyflow.h"
#include <stdarg.h>

/* Fill *error (which may be NULL) and return status. op may be NULL. */
ef_status ef__error_set(ef_error *error, ef_status status, int code, const char *op,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));
ef_status ef__error_setv(ef_error *error, ef_status status, int code, const char *op,
                         const char *format, va_list args);

#endif
