#include "model.h"
#include <math.h>
#include <stdlib.h>

typedef struct place {
    size_t part;
    double at[TUNE_PARAMETERS]; /* places of the values in their lists */
} place;

/* In units of the spread of what was learnt. */
struct tune_model {
    const tune_space *space;
    size_t count;
    place place[TUNE_MODEL_POINTS];
    double row[TUNE_MODEL_POINTS][TUNE_MODEL_POINTS]; /* Cholesky factor of the covariance */
    double weight[TUNE_MODEL_POINTS];                 /* its inverse times the times */
};

tune_model *tune_model_new(const tune_space *space)
{
    tune_model *m = calloc(1, sizeof *m);
    if (m)
        m->space = space;
    return m;
}

void tune_model_free(tune_model *m)
{
    free(m);
}

static place find(const tune_space *space, size_t number)
{
    tune_point point = tune_space_point(space, number);
    const tune_part *part = tune_space_part(space, point.part);
    place p = {.part = point.part};
    for (size_t i = 0; i < tune_part_parameters(part); i++)
        while (part->parameter[i].values[(size_t)p.at[i]] != point.value[i])
            p.at[i]++;
    return p;
}

/* Matern's covariance of order 5/2: times change smoothly, but not by one formula for all. */
static double alike(const place *a, const place *b)
{
    const double reach = 4; /* places */
    double square = 0;
    for (size_t i = 0; i < TUNE_PARAMETERS; i++)
        square += (a->at[i] - b->at[i]) * (a->at[i] - b->at[i]);
    double d = sqrt(5 * square) / reach;
    return a->part == b->part ? (1 + d + d * d / 3) * exp(-d) : 0;
}

/* Row i of the factor, of covariances with the first i places; returns what remains of `own`. */
static double eliminate(const tune_model *m, double *row, size_t i, double own)
{
    for (size_t j = 0; j < i; j++) {
        for (size_t k = 0; k < j; k++)
            row[j] -= row[k] * m->row[j][k];
        row[j] /= m->row[j][j];
        own -= row[j] * row[j];
    }
    return own;
}

static void standardize(double *y, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += y[i];
    for (size_t i = 0; i < n; i++) {
        y[i] -= sum / (double)n;
        squares += y[i] * y[i];
    }
    double spread = squares > 0 ? sqrt(squares / (double)n) : 1;
    for (size_t i = 0; i < n; i++)
        y[i] /= spread;
}

void tune_model_fit(tune_model *m, const size_t *points, const double *ms, size_t count)
{
    const double noise = 0.005;
    m->count = count;
    for (size_t i = 0; i < count; i++) {
        m->place[i] = find(m->space, points[i]);
        m->weight[i] = log(ms[i]);
        for (size_t j = 0; j < i; j++)
            m->row[i][j] = alike(&m->place[i], &m->place[j]);
        m->row[i][i] = sqrt(eliminate(m, m->row[i], i, 1 + noise));
    }
    standardize(m->weight, count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            m->weight[i] -= m->row[i][j] * m->weight[j];
        m->weight[i] /= m->row[i][i];
    }
}

double tune_model_hope(const tune_model *m, size_t point)
{
    const double curiosity = 1; /* standard deviations that it may well be faster than expected */
    place here = find(m->space, point);
    double row[TUNE_MODEL_POINTS], expected = 0;
    for (size_t i = 0; i < m->count; i++)
        row[i] = alike(&here, &m->place[i]);
    double variance = eliminate(m, row, m->count, 1);
    for (size_t i = 0; i < m->count; i++)
        expected += row[i] * m->weight[i];
    return expected - curiosity * sqrt(fmax(variance, 0));
}
