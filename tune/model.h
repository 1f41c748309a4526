/* model.h -- what the times seen so far let expect of points not yet tried: a Gaussian process over
 * the logarithms of the times (Rasmussen, Williams 2006, chapter 2). Points of a part whose values
 * are next to each other in the lists are alike; points of different parts tell nothing about one
 * another. */
#ifndef TUNE_MODEL_H
#define TUNE_MODEL_H

#include "space.h"

enum { TUNE_MODEL_POINTS = 128 };

typedef struct tune_model tune_model;

/* NULL: out of memory. The space has to outlive the model. */
tune_model *tune_model_new(const tune_space *space);
void tune_model_free(tune_model *model);

/* tune_model_fit -- learn the times ms[count] of points, each of them once; count is
 * 1 .. TUNE_MODEL_POINTS. */
void tune_model_fit(tune_model *model, const size_t *points, const double *ms, size_t count);

/* tune_model_hope -- what a point's time may well be, in no unit: less is better. The expected one,
 * and less where little is known. */
double tune_model_hope(const tune_model *model, size_t point);

#endif
