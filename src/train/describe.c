#include "data/wordpiece.h"
#include "train/state.h"

ef_status ef_checkpoint_describe(const char *path, ef_checkpoint_info *info, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef__models models;
    ef_status status = ef__st_open(path, &file, error);
    if (!status)
        status = ef__run_check_version(path, ef__st_metadata(file, "run"), error);
    if (!status)
        status = ef__config_parse(path, ef__st_metadata(file, "config"), &models, error);
    if (!status)
        *info = (ef_checkpoint_info){.has_encoder = models.has[EF_ENCODER],
                                     .has_decoder = models.has[EF_DECODER],
                                     .has_vocabulary = ef__st_find(file, EF__VOCABULARY),
                                     .encoder = models.config[EF_ENCODER],
                                     .decoder = models.config[EF_DECODER]};
    ef__st_close(file);
    return status;
}
