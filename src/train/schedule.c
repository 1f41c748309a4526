#include "energyflow.h"
#include <math.h>

void ef_trainer_options_default(ef_trainer_options *options)
{
    *options = (ef_trainer_options){.alpha = 1,
                                    .beta = 1,
                                    .lr = 1e-3f,
                                    .min_lr = -1,
                                    .warmup = 100,
                                    .weight_decay = 0.01f,
                                    .beta1 = 0.9f,
                                    .beta2 = 0.999f,
                                    .epsilon = 1e-8f,
                                    .clip = 1};
}

double ef_lr_at(const ef_trainer_options *options, uint64_t step)
{
    double base = options->lr, low = options->min_lr < 0 ? base / 100 : options->min_lr;
    uint64_t warmup = options->warmup, decay = options->decay;
    if (step < warmup)
        return fmax(low, base * (double)(step + 1) / (double)warmup);
    if (decay == 0)
        return base;
    double part = step - warmup < decay ? (double)(step - warmup) / (double)decay : 1;
    return low + (base - low) * 0.5 * (1 + cos(3.141592653589793 * part));
}
