/* Numbers as text. */
#ifndef EF_BASE_NUMBER_H
#define EF_BASE_NUMBER_H

enum { EF__FLOAT_CHARS = 16 }; /* of a float, at most */

/* ef__put_float -- a finite float in at most nine digits, which tell any two apart, so that reading
 * it gives the same bits, also of JSON; without a NUL. Returns its end. */
char *ef__put_float(char *to, float x);

#endif
