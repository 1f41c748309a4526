/* An encoder and a decoder in one set: [encoder only | shared block | decoder only]. */
#include "model/decoder.h"
#include "model/init.h"

static ef_status check(ef_actor *a, const ef_model_config *e, const ef_model_config *d)
{
    static const char op[] = "pair";
    if (e->vocab != d->vocab || e->vector != d->vector)
        return ef__fail(a, EF_EARG, 0, op,
                        "pair: the encoder has %zu ids and vectors of %zu, the decoder %zu and %zu",
                        e->vocab, e->vector, d->vocab, d->vector);
    if (e->width != d->width || e->hidden != d->hidden || e->taps != d->taps)
        return ef__fail(
            a, EF_EARG, 0, op,
            "pair: the last block, which is shared, has width %zu, hidden %zu, taps %zu "
            "in the encoder and width %zu, hidden %zu, taps %zu in the decoder",
            e->width, e->hidden, e->taps, d->width, d->hidden, d->taps);
    return EF_OK;
}

static ef_status begin(ef_actor *a, const ef_model_config *encoder_config,
                       const ef_model_config *decoder_config, ef_encoder **encoder,
                       ef_decoder **decoder)
{
    ef_encoder *e = NULL;
    ef_status status = check(a, encoder_config, decoder_config);
    if (!status)
        status = ef__encoder_begin(a, encoder_config, true, &e);
    if (!status)
        status = ef__decoder_begin(a, decoder_config, encoder_config, e->model.params, decoder);
    if (status)
        ef_encoder_free(e);
    else
        *encoder = e;
    return status;
}

ef_status ef_pair_new(ef_actor *a, const ef_model_config *encoder_config,
                      const ef_model_config *decoder_config, ef_init init, uint64_t seed,
                      bool trainable, ef_encoder **encoder, ef_decoder **decoder)
{
    ef_encoder *e = NULL;
    ef_decoder *d = NULL;
    ef__lock(a);
    ef_status status = begin(a, encoder_config, decoder_config, &e, &d);
    if (!status)
        status = ef__params_build(e->model.params, trainable);
    if (!status)
        status = ef__init_params(e->model.params, init, seed);
    if (status) {
        ef_encoder_free(e);
        ef_decoder_free(d);
    } else {
        *encoder = e;
        *decoder = d;
    }
    ef__unlock(a);
    return status;
}
