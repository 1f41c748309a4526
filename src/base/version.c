/* The library's version and those of what it was built with. */
#include "energyflow.h"

const char *ef_version(void)
{
    return PACKAGE_VERSION;
}

const char *ef_version_full(void)
{
    return PACKAGE_VERSION " (OpenCL loader " EF_OPENCL_VERSION ", CLBlast " EF_CLBLAST_VERSION
                           ", hwloc " EF_HWLOC_VERSION ", jansson " EF_JANSSON_VERSION
                           ", utf8proc " EF_UTF8PROC_VERSION ")";
}
