/* plot.h -- the picture of what was tried. */
#ifndef TUNE_PLOT_H
#define TUNE_PLOT_H

#include "books.h"

/* A panel for each target: its choices, fastest first, against their times; the default, the
 * choice, and the floor where it is known. Errors: as ef__picture_end, ENOMEM. */
ef_status tune_plot(const tune_books *b, const char *path, ef_error *error);

#endif
