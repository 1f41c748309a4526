/* picture.h -- pictures of panels by gnuplot, for efbench and eftune. */
#ifndef BENCH_PICTURE_H
#define BENCH_PICTURE_H

#include "base/error.h"
#include <stdio.h>

/* A script of gnuplot for so many panels, each of which begins with bench_picture_panel and ends
 * with a plot of its own. NULL: error says why. */
FILE *bench_picture_begin(size_t panels, const char *title, ef_error *error);
void bench_picture_panel(FILE *script, const char *title);

/* Run the script, save the SVG at path, and close the script. Errors: EIO (no gnuplot, it fails, or
 * path cannot be written; what was there stays). */
ef_status bench_picture_end(FILE *script, const char *path, ef_error *error);

#endif
