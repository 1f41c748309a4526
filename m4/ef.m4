# EF_NEED(VARIABLE, MODULE, DEBIAN-PACKAGE)
# Find a library by pkg-config: VARIABLE_CFLAGS, VARIABLE_LIBS, and its version as EF_VARIABLE_VERSION.
AC_DEFUN([EF_NEED], [
  PKG_CHECK_MODULES([$1], [$2], [],
    [AC_MSG_ERROR([$2 not found by pkg-config: install the Debian package $3])])
  AC_DEFINE_UNQUOTED([EF_$1_VERSION], ["`$PKG_CONFIG --modversion $2`"], [Version of $2.])
])

# EF_SANITIZE
# --enable-sanitize=LIST puts -fsanitize=LIST into SANITIZE_CFLAGS, for compilations and links.
AC_DEFUN([EF_SANITIZE], [
  AC_ARG_ENABLE([sanitize],
    [AS_HELP_STRING([--enable-sanitize=LIST], [build with sanitizers: address or thread])],
    [], [enable_sanitize=no])
  SANITIZE_CFLAGS=
  AS_CASE([$enable_sanitize],
    [no], [],
    [yes], [AC_MSG_ERROR([--enable-sanitize needs a value: address or thread])],
    [SANITIZE_CFLAGS="-fsanitize=$enable_sanitize -fno-omit-frame-pointer"
     ef_saved_CFLAGS=$CFLAGS
     CFLAGS="$CFLAGS $SANITIZE_CFLAGS"
     AC_MSG_CHECKING([whether $CC links with -fsanitize=$enable_sanitize])
     AC_LINK_IFELSE([AC_LANG_PROGRAM], [AC_MSG_RESULT([yes])],
       [AC_MSG_RESULT([no])
        AC_MSG_ERROR([no such sanitizer here: $enable_sanitize])])
     CFLAGS=$ef_saved_CFLAGS])
  AC_SUBST([SANITIZE_CFLAGS])
])
