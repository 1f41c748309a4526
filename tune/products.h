/* products.h -- CLBlast's products at the shapes of the linear targets, as one, for the worker.
 * What a set of CLBlast's parameters takes is the sum of the products' times, by their weights. */
#ifndef TUNE_PRODUCTS_H
#define TUNE_PRODUCTS_H

#include "verify.h"
#include <jansson.h>

typedef struct tune_product tune_product;

enum { TUNE_SETS_KEPT = 16 };

typedef struct tune_products {
    ef_actor *actor;
    tune_product *at; /* [count] */
    size_t count;
    json_t *built[TUNE_SETS_KEPT]; /* the sets whose programs CLBlast keeps */
    size_t built_count;
} tune_products;

/* list: of {"target", "weight"}. Close them also when this fails. */
ef_status tune_products_open(tune_products *p, ef_actor *a, json_t *list, ef_error *error);
void tune_products_close(tune_products *p);

/* Does CLBlast run all of them? */
bool tune_products_fit(const tune_products *p);

/* Have CLBlast take these parameters; null: none, which is possible only before the first. What is
 * not valid is EARG. The error stands on the actor. */
ef_status tune_clblast_take(ef_actor *a, json_t *kernels);

/* Both of one set of parameters. each[count]: of the products, not weighted. */
ef_status tune_products_time(tune_products *p, json_t *kernels, double *ms, double *each);
ef_status tune_products_verify(tune_products *p, json_t *kernels, double *worst, char *text,
                               size_t size);

#endif
