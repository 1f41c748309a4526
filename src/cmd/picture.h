/* picture.h -- pictures of panels by gnuplot, for the commands. */
#ifndef EF_CMD_PICTURE_H
#define EF_CMD_PICTURE_H

#include <energyflow.h>
#include <stdio.h>

/* A script of gnuplot for so many panels, each of which begins with ef__picture_panel and ends
 * with a plot of its own. NULL: error says why. */
FILE *ef__picture_begin(size_t panels, const char *title, ef_error *error);
void ef__picture_panel(FILE *script, const char *title);

/* Run the script, save the SVG at path, and close the script. Errors: EIO (no gnuplot, it fails, or
 * path cannot be written; what was there stays). */
ef_status ef__picture_end(FILE *script, const char *path, ef_error *error);

/* Could ef__picture_end draw at path? Errors: EIO (no gnuplot, or path cannot be written). */
ef_status ef__picture_check(const char *path, ef_error *error);

#endif
